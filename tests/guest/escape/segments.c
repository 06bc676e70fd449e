// expect: exit 0
// Loading odd selectors into segment registers: a signal or no effect.
#include "../t.h"
#include <setjmp.h>
static sigjmp_buf j;
static void on(int s) { siglongjmp(j, s); }
int main(void)
{
	t_on(SIGSEGV, on, SA_NODEFER);
	t_on(SIGBUS, on, SA_NODEFER);
	for (unsigned sel = 0; sel < 256; sel++) {
		if (!sigsetjmp(j, 1))
			__asm__ volatile("mov %0,%%ds" ::"r"(sel));
		if (!sigsetjmp(j, 1))
			__asm__ volatile("mov %0,%%es" ::"r"(sel));
		if (!sigsetjmp(j, 1))
			__asm__ volatile("mov %0,%%gs" ::"r"(sel));
		if (sel % 16 == 0)
			sched_yield();
	}
	if (!sigsetjmp(j, 1))
		__asm__ volatile("mov %0,%%ss" ::"r"(0));
	__asm__ volatile("mov %0,%%ds; mov %0,%%es" ::"r"(0x2b));
	CHECK(getppid() >= 0);
	t_msleep(2);
	return 0;
}
