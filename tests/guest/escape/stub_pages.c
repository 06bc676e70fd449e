// expect: exit 0
// Jumps, reads and writes all over the top of the address space never get beyond the process: a jump to a
// system call instruction there is an ordinary call of the guest, everything else a signal.
#include "../t.h"
#include <setjmp.h>
static sigjmp_buf j;
static void on(int s) { siglongjmp(j, s); }
static void jump(unsigned long to, unsigned long fill)
{
	__asm__ volatile("mov %1,%%rax; mov %1,%%rdi; mov %1,%%rsi; mov %1,%%rdx; mov %1,%%r10; mov %1,%%r8; mov %1,%%r9; jmp *%0"
			 ::"r"(to), "b"(fill) : "rax", "rdi", "rsi", "rdx", "r10", "r8", "r9", "memory");
}
static void probe(void)
{
	stack_t ss = { .ss_sp = malloc(65536), .ss_size = 65536 };
	OK(sigaltstack(&ss, NULL));
	int sigs[] = { SIGILL, SIGSEGV, SIGSYS, SIGBUS, SIGTRAP, SIGFPE };
	for (int i = 0; i < 6; i++)
		t_on(sigs[i], on, SA_ONSTACK);
	static const unsigned long fills[] = { 0, 9, 11, 39, 0x7fffffffd000, -1UL };
	long signals = 0, tries = 0;
	for (unsigned long page = 0x7fffffff0000; page < 0x800000000000; page += 4096) {
		tries += 2;
		if (!sigsetjmp(j, 1))
			*(volatile char *)page;
		else
			signals++;
		if (!sigsetjmp(j, 1))
			*(volatile char *)(page + 8) = 1;
		else
			signals++;
		/* The real stack may be near the top natively: only jump where nothing may be read. */
		if (page < 0x7fffffffd000)
			continue;
		for (unsigned off = 0; off < 4096; off += 1 + off / 64)
			for (unsigned f = 0; f < sizeof fills / sizeof *fills; f += 1 + (off > 64) * 4) {
				tries++;
				if (!sigsetjmp(j, 1))
					jump(page + off, fills[f]);
				else
					signals++;
			}
	}
	CHECK(signals > 32);
	_exit(0);
}
int main(void)
{
	/* The probe may clone, exit or unmap itself by what it jumps to: that is its own affair. */
	pid_t k = OK(fork());
	if (!k) {
		OK(setsid());
		alarm(8);
		probe();
	}
	int st;
	EQ(waitpid(k, &st, 0), k);
	OK(kill(-k, SIGKILL) == 0 || errno == ESRCH ? 0 : -1);
	CHECK(getppid() >= 0 && time(NULL) > 1700000000);
	return 0;
}
