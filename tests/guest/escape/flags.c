// expect: exit 0
// System calls with odd flags set: TF, AC, NT, DF, ID, and IOPL that cannot be had.
#include "../t.h"
static volatile int traps;
static void on(int s) { traps++; }
static unsigned long call(unsigned long set)
{
	unsigned long out;
	__asm__ volatile("pushfq; orq %1,(%%rsp); popfq; mov %2,%%eax; syscall; pushfq; popq %0; pushfq; andq %3,(%%rsp); popfq"
			 : "=r"(out) : "r"(set), "i"(SYS_getppid), "i"(~0x54500L & 0x7fffffff) : "rax", "rcx", "r11", "memory", "cc");
	__asm__ volatile("cld");
	return out;
}
int main(void)
{
	t_on(SIGTRAP, on, 0);
	t_on(SIGBUS, on, 0);
	call(0x4000); /* NT */
	call(0x400); /* DF */
	call(0x200000); /* ID */
	call(0x3000); /* IOPL: silently ignored */
	call(0x100); /* TF: a trap for each instruction */
	CHECK(traps > 0);
	unsigned long f = call(0x200);
	CHECK((f & 0x3000) == 0);
	CHECK(getppid() >= 0);
	/* NT set across a fork and a sleep. */
	__asm__ volatile("pushfq; orq $0x4000,(%%rsp); popfq" ::: "memory", "cc");
	IN_CHILD(t_msleep(1));
	__asm__ volatile("pushfq; andq $~0x4000,(%%rsp); popfq" ::: "memory", "cc");
	return 0;
}
