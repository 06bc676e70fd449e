// expect: exit 0
// seconds: 90
// Jumps to every byte of the stub's text, with registers that mean something there.
#include "shm.h"
static struct { int next; } *shared;
static void on(int s) { (void)s; }
static unsigned long pick(void)
{
	static const unsigned long some[] = { 0, 1, 9, 10, 11, 13, 14, 15, 39, 56, 59, 101, 157, 202, 231, 317, -1UL, 0x200,
		TEXT, TEXT + 0x1000, K(0), K(1), K(2), S(0), S(1), S(1) + 0x4000, S(2), S(700), 0x11, 7, 0x400000, 4096 };
	return some[rnd() % (sizeof some / sizeof *some)];
}
static void jump(unsigned long to)
{
	unsigned long r[16];
	for (int i = 0; i < 16; i++)
		r[i] = pick();
	if (rnd() % 2)
		r[0] = S(1), r[1] = K(1), r[2] = S(1) + 0x6000;
	__asm__ volatile("mov %0,%%rax; mov %1,%%rcx; push %%rcx; push 24(%%rax); mov (%%rax),%%rbx; mov 8(%%rax),%%rbp;"
			 "mov 40(%%rax),%%rdx; mov 48(%%rax),%%rsi; mov 56(%%rax),%%rdi; mov 64(%%rax),%%r8;"
			 "mov 72(%%rax),%%r9; mov 80(%%rax),%%r10; mov 88(%%rax),%%r12; mov 96(%%rax),%%r13; mov 104(%%rax),%%r14;"
			 "pop %%rax; ret" ::"r"(r), "r"(to) : "memory", "rax", "rcx");
}
static void body(int unused)
{
	static char stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof stack };
	sigaltstack(&ss, NULL);
	int off = shared->next++;
	seed += off * 0x1234567;
	jump(TEXT + off);
}
int main(void)
{
	shared = OK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	/* One process a byte; those that wedge themselves are the watchdog's. */
	while (shared->next < 4200) {
		pid_t k = OK(fork());
		if (!k) {
			ualarm(50000, 0);
			body(0);
			_exit(0);
		}
		int st;
		EQ(waitpid(k, &st, 0), k);
	}
	hostile(body, 0, 2);
	return 0;
}
