// The 128 bytes under the stack pointer survive a handler; registers can be changed by it.
#include "t.h"
#include <ucontext.h>
static void noop(int s) { volatile char junk[4096]; memset((char *)junk, 0xee, sizeof junk); }
static void change(int s, siginfo_t *i, void *u)
{
	ucontext_t *c = u;
	c->uc_mcontext.gregs[REG_RBX] = 0x1234567812345678;
	c->uc_mcontext.gregs[REG_RIP] += 2; /* over the ud2 */
	c->uc_mcontext.gregs[REG_R15] = 99;
	sigaddset(&c->uc_sigmask, SIGUSR2);
}
int main(void)
{
	t_on(SIGUSR1, noop, 0);
	long pid = getpid(), tid = syscall(SYS_gettid), a = 0, b = 0;
	__asm__ volatile("movq $0x1122334455667788,%%r8\n movq %%r8,-8(%%rsp)\n movq %%r8,-128(%%rsp)\n"
			 "mov %[nr],%%eax\n mov %[pid],%%rdi\n mov %[tid],%%rsi\n mov %[sig],%%edx\n syscall\n"
			 "movq -8(%%rsp),%%r9\n movq -128(%%rsp),%%r10\n movq %%r9,%[a]\n movq %%r10,%[b]\n"
			 : [a] "=m"(a), [b] "=m"(b)
			 : [nr] "i"(SYS_tgkill), [pid] "r"(pid), [tid] "r"(tid), [sig] "i"(SIGUSR1)
			 : "rax", "rdi", "rsi", "rdx", "rcx", "r8", "r9", "r10", "r11", "memory");
	printf("%lx %lx\n", a, b);
	t_on_info(SIGILL, change, 0);
	long rbx, r15;
	__asm__ volatile("xor %%ebx,%%ebx; xor %%r15d,%%r15d; ud2; mov %%rbx,%0; mov %%r15,%1"
			 : "=r"(rbx), "=r"(r15)::"rbx", "r15", "memory");
	printf("%lx %ld\n", rbx, r15);
	sigset_t m;
	sigprocmask(SIG_BLOCK, NULL, &m);
	printf("mask changed %d\n", sigismember(&m, SIGUSR2));
}
