// Unknown system call numbers give ENOSYS, also far out of range, and do no harm.
#include "t.h"
static long raw(long nr)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(0), "S"(0), "d"(0) : "rcx", "r11", "memory");
	return r;
}
int main(void)
{
	EQ(raw(1000), -ENOSYS);
	EQ(raw(100000), -ENOSYS);
	EQ(raw(-2), -ENOSYS);
	EQ(raw(0x7fffffff), -ENOSYS);
	EQ(raw(400), -ENOSYS); /* a hole in the table */
	EQ(raw(180), -ENOSYS); /* nfsservctl, gone for good */
	ERR(syscall(SYS_uselib, 0), ENOSYS);
	CHECK(raw(SYS_getpid) == getpid());
	/* r10, r8, r9 and the rest survive a call; rcx and r11 do not have to. */
	long a, b, c, r;
	__asm__ volatile("mov $1,%%r10; mov $2,%%r8; mov $3,%%r9; syscall; mov %%r10,%1; mov %%r8,%2; mov %%r9,%3"
			 : "=a"(r), "=r"(a), "=r"(b), "=r"(c) : "a"(SYS_getppid) : "rcx", "r11", "r10", "r8", "r9", "memory");
	EQ(a * 100 + b * 10 + c, 123);
	EQ(r, getppid());
	say("ENOSYS ok");
}
