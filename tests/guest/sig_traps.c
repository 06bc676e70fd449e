// CPU exceptions: signal, si_code and address for FPE, ILL, TRAP and privileged instructions.
#include "t.h"
#include <setjmp.h>
#include <ucontext.h>
static sigjmp_buf j;
static siginfo_t si;
static unsigned long rip, trapno;
static void on(int s, siginfo_t *i, void *u)
{
	si = *i;
	rip = ((ucontext_t *)u)->uc_mcontext.gregs[REG_RIP];
	trapno = ((ucontext_t *)u)->uc_mcontext.gregs[REG_TRAPNO];
	siglongjmp(j, 1);
}
#define TRY(what, body) do { memset(&si, 0, sizeof si); if (!sigsetjmp(j, 1)) { body; } \
	printf("%s: signal %d code %d trap %lu at rip %d\n", what, si.si_signo, si.si_code, trapno, \
	       (unsigned long)si.si_addr == rip); } while (0)
int main(void)
{
	int all[] = { SIGFPE, SIGILL, SIGTRAP, SIGSEGV, SIGBUS };
	for (int i = 0; i < 5; i++)
		t_on_info(all[i], on, 0);
	volatile int zero = 0, one = 1;
	TRY("divide", one /= zero);
	TRY("divide overflow", __asm__ volatile("mov $0x80000000,%%eax; cdq; mov $-1,%%ecx; idiv %%ecx" ::: "eax", "ecx", "edx"));
	TRY("ud2", __asm__ volatile("ud2"));
	TRY("int3", __asm__ volatile("int3"));
	TRY("hlt", __asm__ volatile("hlt"));
	TRY("cli", __asm__ volatile("cli"));
	TRY("in", __asm__ volatile("in $0x80,%%al" ::: "al"));
	TRY("wrmsr", __asm__ volatile("wrmsr" ::"a"(0), "d"(0), "c"(0)));
	TRY("mov cr3", __asm__ volatile("mov %%cr3,%%rax" ::: "rax"));
	TRY("int 13", __asm__ volatile("int $13"));
	unsigned mx = 0x1f80 & ~0x200;
	TRY("sse divide", __asm__ volatile("ldmxcsr %0; pxor %%xmm0,%%xmm0; movsd %1,%%xmm1; divsd %%xmm0,%%xmm1"
		::"m"(mx), "m"((double){ 1.0 }) : "xmm0", "xmm1"));
	mx = 0x1f80;
	__asm__ volatile("ldmxcsr %0" ::"m"(mx));
	TRY("single step", __asm__ volatile("pushf; orl $0x100,(%%rsp); popf; nop; nop" ::: "cc", "memory"));
	__asm__ volatile("pushf; andl $~0x100,(%%rsp); popf" ::: "cc", "memory");
}
