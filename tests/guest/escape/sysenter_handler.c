// expect: exit 0
// sysenter with handlers in place: a signal arrives and the process goes on.
#include "../t.h"
#include <setjmp.h>
static sigjmp_buf j;
static void on(int s) { siglongjmp(j, s); }
int main(void)
{
	int sigs[] = { SIGILL, SIGSEGV, SIGSYS, SIGBUS };
	for (int i = 0; i < 4; i++)
		t_on(sigs[i], on, 0);
	for (int i = 0; i < 20; i++) {
		volatile int n = i;
		int r = sigsetjmp(j, 1);
		if (r == 0) {
			__asm__ volatile("mov %%rsp,%%r12; mov %%rbp,%%r13; mov %0,%%rbp; sysenter" ::"r"((long)n * 4096), "a"(39) : "r12", "r13", "memory");
			return 1;
		}
	}
	EQ(getppid() > 0, 1);
	return 0;
}
