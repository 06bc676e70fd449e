// sigaltstack: used only with SA_ONSTACK, reported while on it, errors, autodisarm.
#include "t.h"
static char stack[65536];
static volatile int onstack, flags, again;
static void on(int s)
{
	char here;
	stack_t ss;
	onstack = &here >= stack && &here < stack + sizeof stack;
	sigaltstack(NULL, &ss);
	flags = ss.ss_flags;
	stack_t bad = { .ss_flags = SS_DISABLE };
	again = sigaltstack(&bad, NULL) == -1 && errno == EPERM;
}
int main(void)
{
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof stack }, old;
	OK(sigaltstack(&ss, &old));
	EQ(old.ss_flags, SS_DISABLE);
	t_on(SIGUSR1, on, SA_ONSTACK);
	raise(SIGUSR1);
	printf("on %d flags %d change refused %d\n", onstack, flags, again);
	t_on(SIGUSR1, on, 0);
	raise(SIGUSR1);
	printf("on %d flags %d\n", onstack, flags);
	OK(sigaltstack(NULL, &old));
	printf("after: flags %d\n", old.ss_flags);
	OK(sigaltstack(&ss, NULL));
	ss.ss_size = 100;
	ERR(sigaltstack(&ss, NULL), ENOMEM);
	ss.ss_size = sizeof stack;
	ss.ss_flags = 0x55;
	ERR(sigaltstack(&ss, NULL), EINVAL);
	ss.ss_flags = 1U << 31; /* SS_AUTODISARM */
	OK(sigaltstack(&ss, NULL));
	t_on(SIGUSR1, on, SA_ONSTACK);
	raise(SIGUSR1);
	printf("autodisarm: on %d flags %d change refused %d\n", onstack, flags, again);
	IN_CHILD(OK(sigaltstack(NULL, &old)); CHECK(old.ss_sp == stack)); /* a fork inherits it */
}
