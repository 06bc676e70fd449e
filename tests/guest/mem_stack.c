// The stack grows on demand to its limit, then SIGSEGV on the alternate stack.
#include "t.h"
#include <setjmp.h>
static sigjmp_buf j;
static int code;
static void on(int s, siginfo_t *i, void *u) { code = i->si_code; siglongjmp(j, 1); }
static int deep(int n)
{
	volatile char frame[1024];
	frame[0] = n;
	if (n == 0)
		return 0;
	return deep(n - 1) + (frame[0] == (char)n);
}
static int forever(int n)
{
	volatile char frame[4096];
	frame[n % 4096] = n;
	return forever(n + 1) + frame[0];
}
int main(void)
{
	printf("%d\n", deep(4000)); /* 4 MiB and more */
	stack_t ss = { .ss_sp = malloc(65536), .ss_size = 65536 };
	EQ(sigaltstack(&ss, NULL), 0);
	t_on_info(SIGSEGV, on, SA_ONSTACK);
	if (!sigsetjmp(j, 1))
		forever(0);
	printf("overflow: code %d\n", code == SEGV_MAPERR || code == SEGV_ACCERR);
	/* Without the alternate stack there is nowhere to go: it is killed. */
	pid_t k = OK(fork());
	if (!k) {
		ss.ss_flags = SS_DISABLE;
		sigaltstack(&ss, NULL);
		forever(0);
	}
	int st;
	EQ(waitpid(k, &st, 0), k);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV);
	say("stack ok");
}
