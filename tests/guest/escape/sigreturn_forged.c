// expect: exit 0
// rt_sigreturn with forged frames: odd selectors, flags, addresses and FP state give SIGSEGV at most.
#include "../t.h"
#include <sys/ucontext.h>
static volatile int which;
static void on(int s, siginfo_t *i, void *uc)
{
	ucontext_t *u = uc;
	greg_t *g = u->uc_mcontext.gregs;
	switch (which) {
	case 0: g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffL) | 0x10; break; /* the kernel's code segment */
	case 1: g[REG_EFL] |= 0x3000 | 0x20000; break; /* IOPL and VM */
	case 2: g[REG_RIP] = 0x8000000000000000; break;
	case 3: g[REG_RSP] = 0xffffffff81000000; break;
	case 4: g[REG_RIP] = 0x7fffffffd000; break;
	case 5: memset(u->uc_mcontext.fpregs, 0xff, 512); break;
	case 6: u->uc_mcontext.fpregs = (void *)0xffffffff81000000; break;
	case 7: u->uc_mcontext.fpregs = (void *)8; break;
	case 8: ((uint32_t *)u->uc_mcontext.fpregs)[464 / 4 + 1] = 0x7fffffff; break; /* extended size */
	case 9: memset((char *)u->uc_mcontext.fpregs + 512, 0xff, 64); break; /* XSAVE header */
	case 10: g[REG_CSGSFS] = -1; break;
	case 11: g[REG_EFL] = -1; break;
	}
}
int main(void)
{
	for (which = 0; which < 12; which++) {
		pid_t k = OK(fork());
		if (!k) {
			t_on_info(SIGUSR1, on, 0);
			raise(SIGUSR1);
			_exit(0);
		}
		int st;
		EQ(waitpid(k, &st, 0), k);
		CHECK(WIFEXITED(st) || WTERMSIG(st) == SIGSEGV || WTERMSIG(st) == SIGBUS || WTERMSIG(st) == SIGTRAP || WTERMSIG(st) == SIGFPE || WTERMSIG(st) == SIGILL);
	}
	/* And one without any frame at all. */
	pid_t k = OK(fork());
	if (!k) {
		__asm__ volatile("mov $16,%%rsp; mov $15,%%eax; syscall" ::: "memory");
		_exit(0);
	}
	int st;
	EQ(waitpid(k, &st, 0), k);
	EQ(WTERMSIG(st), SIGSEGV);
	return 0;
}
