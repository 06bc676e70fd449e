// Blocking, pending, SA_NODEFER, sa_mask, SA_RESETHAND and delivery order.
#include "t.h"
static char order[64];
static volatile int depth, deepest, again;
static void on(int s)
{
	depth++;
	if (depth > deepest)
		deepest = depth;
	char t[16];
	snprintf(t, sizeof t, "%d ", s);
	strcat(order, t);
	if (s == SIGUSR1 && again-- > 0)
		raise(SIGUSR1);
	depth--;
}
int main(void)
{
	sigset_t s, old, p;
	t_on(SIGUSR1, on, 0);
	again = 2;
	raise(SIGUSR1);
	printf("deferred: depth %d, %s\n", deepest, order);
	deepest = 0;
	*order = 0;
	again = 2;
	t_on(SIGUSR1, on, SA_NODEFER);
	raise(SIGUSR1);
	printf("nodefer: depth %d, %s\n", deepest, order);
	*order = 0;
	t_on(SIGUSR2, on, SA_RESETHAND);
	raise(SIGUSR2);
	struct sigaction sa;
	OK(sigaction(SIGUSR2, NULL, &sa));
	CHECK(sa.sa_handler == SIG_DFL);
	sigfillset(&s);
	OK(sigprocmask(SIG_SETMASK, &s, &old));
	sigprocmask(SIG_BLOCK, NULL, &p);
	printf("KILL %d STOP %d blocked\n", sigismember(&p, SIGKILL), sigismember(&p, SIGSTOP));
	for (int i = 0; i < 2; i++) {
		t_on(SIGTERM, on, 0);
		t_on(SIGINT, on, 0);
		t_on(SIGHUP, on, 0);
		raise(SIGTERM);
		raise(SIGHUP);
		raise(SIGINT);
	}
	OK(sigpending(&p));
	printf("pending %d %d %d %d\n", sigismember(&p, SIGTERM), sigismember(&p, SIGHUP), sigismember(&p, SIGINT), sigismember(&p, SIGUSR1));
	/* Ignoring a pending signal throws it away. */
	signal(SIGINT, SIG_IGN);
	*order = 0;
	OK(sigprocmask(SIG_SETMASK, &old, NULL));
	printf("delivered: %s\n", order);
	ERR(sigaction(SIGKILL, &sa, NULL), EINVAL);
	ERR(syscall(SYS_rt_sigaction, SIGUSR1, &sa, NULL, 4), EINVAL);
	ERR(sigprocmask(77, &s, NULL), EINVAL);
	ERR(syscall(SYS_rt_sigaction, 65, NULL, NULL, 8), EINVAL);
}
