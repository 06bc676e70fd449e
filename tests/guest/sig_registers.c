// All general registers and flags survive a signal that comes at any moment.
#include "t.h"
static volatile int hits;
static void on(int s)
{
	hits++;
	__asm__ volatile("mov $-1,%%rax; mov %%rax,%%rcx; mov %%rax,%%rdx; mov %%rax,%%rsi; mov %%rax,%%rdi;"
			 "mov %%rax,%%r8; mov %%rax,%%r9; mov %%rax,%%r10; mov %%rax,%%r11; add $1,%%rax"
			 ::: "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc");
}
int main(void)
{
	t_on(SIGALRM, on, 0);
	struct itimerval it = { { 0, 500 }, { 0, 500 } };
	OK(setitimer(ITIMER_REAL, &it, NULL));
	long rounds = 0;
	double end = t_now() + 0.25;
	while (t_now() < end || hits < 20) {
		long bad;
		__asm__ volatile("mov $1,%%rbx; mov $2,%%rcx; mov $3,%%rdx; mov $4,%%rsi; mov $5,%%rdi; mov $8,%%r8; mov $9,%%r9;"
				 "mov $10,%%r10; mov $11,%%r11; mov $12,%%r12; mov $13,%%r13; mov $14,%%r14; mov $15,%%r15\n"
				 "mov $20000,%%eax\n stc\n 1: lea -1(%%rax),%%eax\n setc %%al\n setnc %%ah\n"
				 "cmp $1,%%al\n jne 2f\n jmp 3f\n 2: mov $1,%%eax\n jmp 4f\n 3: stc\n"
				 "mov $3000,%%eax\n 5: sub $1,%%eax\n jnz 5b\n"
				 "lea (%%rbx,%%rcx),%%rax; add %%rdx,%%rax; add %%rsi,%%rax; add %%rdi,%%rax; add %%r8,%%rax; add %%r9,%%rax;"
				 "add %%r10,%%rax; add %%r11,%%rax; add %%r12,%%rax; add %%r13,%%rax; add %%r14,%%rax; add %%r15,%%rax\n"
				 "sub $107,%%rax\n 4: mov %%rax,%0\n"
				 : "=m"(bad)::"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
				   "cc", "memory");
		EQ(bad, 0);
		rounds++;
	}
	CHECK(rounds > 0 && hits >= 20);
	say("registers kept");
}
