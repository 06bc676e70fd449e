// expect: exit 0
// FS and GS bases in the kernel half or non-canonical: a signal at most, and the next call works.
#include "../t.h"
#include <asm/prctl.h>
#include <sys/auxv.h>
#include <setjmp.h>
static sigjmp_buf j;
static unsigned long fs;
static void on(int s)
{
	__asm__ volatile("syscall" : : "a"(SYS_arch_prctl), "D"(ARCH_SET_FS), "S"(fs) : "rcx", "r11", "memory");
	siglongjmp(j, s);
}
int main(void)
{
	if (!(getauxval(AT_HWCAP2) & 2))
		return 0;
	OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
	t_on(SIGSEGV, on, SA_NODEFER);
	static const unsigned long bad[] = { 0xffffffff81000000, 0xffff800000000000, 0x8000000000000000, 0x800000000000, 0x7fffffffd000, -1UL, 0 };
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		if (!sigsetjmp(j, 0))
			__asm__ volatile("wrgsbase %0; mov %%gs:0,%%rax" ::"r"(bad[i]) : "rax", "memory");
		if (!sigsetjmp(j, 0)) {
			/* A system call with such a base in FS, then back. */
			__asm__ volatile("wrfsbase %0; mov %2,%%eax; syscall; wrfsbase %1" ::"r"(bad[i]), "r"(fs), "i"(SYS_getppid) : "rax", "rcx", "r11", "memory");
		}
		__asm__ volatile("wrfsbase %0" ::"r"(fs) : "memory");
		CHECK(getppid() >= 0);
		sched_yield();
	}
	return 0;
}
