// A hundred thousand system calls in a row give the same answer, registers kept.
#include "t.h"
int main(void)
{
	pid_t me = getpid();
	long sum = 0;
	for (int i = 0; i < 100000; i++) {
		long r;
		__asm__ volatile("syscall" : "=a"(r) : "a"(SYS_getpid) : "rcx", "r11", "memory");
		sum += r == me;
	}
	printf("%ld\n", sum);
}
