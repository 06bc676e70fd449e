// expect: exit 0
// seconds: 30
// What a process has left in the pages that it shares with the kernel no other one can read.
#include "shm.h"
#define CANARY 0x00005ca1ab1e5ca1UL
static void fill(int how)
{
	__asm__ volatile("movq %0,%%xmm7; movq %0,%%xmm15; mov %0,%%r12; mov %0,%%r13; mov %1,%%eax; syscall"
			 ::"r"(CANARY), "i"(SYS_getppid) : "rax", "rcx", "r11", "r12", "r13", "xmm7", "xmm15", "memory");
	if (how == 1)
		for (unsigned long a = S(1) + 0x2000; a < S(1) + 0x7000; a += 8)
			W64(a) = CANARY;
	if (how == 2)
		for (int n = 0; n < 1024; n += 31)
			for (unsigned long a = S(n) + 0x7000; a < S(n) + 0x7100; a += 8)
				W64(a) = CANARY;
}
static void quiet(int s) { _exit(0); }
/* Not the canary itself: what this process has in a register is in its own pages when it is interrupted. */
static volatile unsigned long inverted = ~CANARY;
static void scan(void)
{
	t_on(SIGSEGV, quiet, 0);
	for (int n = 0; n < 1024; n++) {
		if (n > 4 && n % 31)
			continue;
		for (unsigned long a = K(n); a < K(n) + 4096; a += 8)
			CHECK(~W64(a) != inverted);
		/* Its own stack of signals is its own. */
		for (unsigned long a = S(n); a < S(n) + 0x8000; a += 8)
			CHECK(~W64(a) != inverted);
	}
}
int main(void)
{
	for (int i = 0; i < 30; i++) {
		hostile(fill, i % 3, 5);
		IN_CHILD(scan());
		t_msleep(i % 3);
	}
	return 0;
}
