// expect: exit 0
// int $0x80 from 64-bit code: -ENOSYS or SIGSYS, never a host system call.
#include "../t.h"
static void on(int s) { _exit(s == SIGSYS ? 0 : 2); }
int main(void)
{
	t_on(SIGSYS, on, 0);
	/* 32-bit numbers: 20 getpid, 4 write, 1 exit, 5 open, 120 clone */
	static const int nr[] = { 20, 4, 5, 120, 192, 11 };
	for (unsigned i = 0; i < sizeof nr / sizeof *nr; i++) {
		long r;
		__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr[i]), "b"(0), "c"(0), "d"(0), "S"(0), "D"(0) : "r8", "r9", "r10", "r11", "memory");
		EQ((int)r, -ENOSYS);
	}
	return 0;
}
