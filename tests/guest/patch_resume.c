// Going on at any instruction of a call site: by sigreturn, and by a jump into its middle.
#include "t.h"
#include <ucontext.h>
__asm__(".text\n.globl by_number, by_zero\n"
	".type by_number,@function\nby_number: mov $39,%eax\n syscall\n ret\n .size by_number,.-by_number\n"
	".type by_zero,@function\nby_zero: xor %eax,%eax\n syscall\n cmp $-4096,%rax\n ja 1f\n ret\n"
	"1: mov $-77,%rax\n ret\n .size by_zero,.-by_zero\n");
long by_number(void);
long by_zero(int fd, void *to, long n);
static volatile unsigned long target;
static volatile long rax;
/* Calls the target with rax as given. */
static void on(int s, siginfo_t *i, void *u)
{
	greg_t *g = ((ucontext_t *)u)->uc_mcontext.gregs;
	g[REG_RSP] -= 8;
	*(greg_t *)g[REG_RSP] = g[REG_RIP] + 2;
	g[REG_RIP] = target;
	g[REG_RAX] = rax;
}
static long go(void *function, volatile int offset, long value)
{
	long r, d = -1;
	target = (unsigned long)function + offset;
	rax = value;
	__asm__ volatile("sub $128,%%rsp; ud2; add $128,%%rsp"
			 : "=a"(r), "+D"(d)::"rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
	return r;
}
static long jump(void *function, volatile int offset, long value)
{
	unsigned long at = (unsigned long)function + offset;
	__asm__ volatile("sub $128,%%rsp; call *%%rbx; add $128,%%rsp"
			 : "+a"(value) : "b"(at) : "rcx", "r11", "memory", "cc");
	return value;
}
int main(void)
{
	t_on_info(SIGILL, on, 0);
	for (int i = 0; i < 50; i++) {
		EQ(go(by_number, 0, 1), getpid());
		EQ(go(by_number, 5, SYS_getppid), getppid());
		EQ(go(by_number, 7, 1234), 1234);
		EQ(go(by_zero, 0, 1), -77);
		EQ(go(by_zero, 2, SYS_getpid), getpid());
		EQ(go(by_zero, 4, 1234), 1234);
		EQ(go(by_zero, 4, -9), -77);
		EQ(jump(by_number, 0, 1), getpid());
		EQ(jump(by_number, 5, SYS_getppid), getppid());
		EQ(jump(by_number, 7, 99), 99);
	}
	say("resumed everywhere");
}
