// siglongjmp out of handlers, nested, thousands of times; the mask is restored.
#include "t.h"
#include <setjmp.h>
static sigjmp_buf j;
static void on(int s) { siglongjmp(j, s); }
int main(void)
{
	t_on(SIGUSR1, on, 0);
	t_on(SIGSEGV, on, 0);
	volatile int n = 0, segv = 0;
	for (volatile int i = 0; i < 5000; i++) {
		int r = sigsetjmp(j, 1);
		if (r == 0) {
			if (i % 2)
				raise(SIGUSR1);
			else
				*(volatile int *)(8 + i % 100) = 0;
			CHECK(0);
		}
		n++;
		segv += r == SIGSEGV;
	}
	printf("%d jumps, %d from faults\n", n, segv);
	sigset_t m;
	sigprocmask(SIG_BLOCK, NULL, &m);
	CHECK(!sigismember(&m, SIGUSR1) && !sigismember(&m, SIGSEGV));
	/* Without saving the mask the signal stays blocked. */
	if (!sigsetjmp(j, 0))
		raise(SIGUSR1);
	sigprocmask(SIG_BLOCK, NULL, &m);
	EQ(sigismember(&m, SIGUSR1), 1);
}
