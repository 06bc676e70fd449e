// SIGCHLD: SA_NOCLDWAIT and SIG_IGN reap by themselves, SA_NOCLDSTOP is silent on stops.
#include "t.h"
static volatile int n;
static void on(int s) { n++; }
int main(void)
{
	int st;
	t_on(SIGCHLD, on, SA_NOCLDWAIT);
	pid_t k = OK(fork());
	if (!k)
		_exit(3);
	while (waitpid(k, &st, 0) == -1 && errno == EINTR)
		;
	CHECK(errno == ECHILD);
	printf("nocldwait: signals %d\n", n);
	signal(SIGCHLD, SIG_IGN);
	k = OK(fork());
	if (!k)
		_exit(3);
	ERR(waitpid(k, &st, 0), ECHILD); /* blocks until it is gone, then there is none */
	n = 0;
	t_on(SIGCHLD, on, SA_NOCLDSTOP | SA_RESTART);
	k = OK(fork());
	if (!k)
		for (;;)
			pause();
	kill(k, SIGSTOP);
	EQ(waitpid(k, &st, WUNTRACED), k);
	printf("after stop: %d\n", n);
	kill(k, SIGKILL);
	EQ(waitpid(k, &st, 0), k);
	printf("after kill: %d\n", n);
	t_on(SIGCHLD, on, SA_RESTART);
	n = 0;
	k = OK(fork());
	if (!k)
		for (;;)
			pause();
	kill(k, SIGSTOP);
	EQ(waitpid(k, &st, WUNTRACED), k);
	kill(k, SIGCONT);
	EQ(waitpid(k, &st, WCONTINUED), k);
	kill(k, SIGKILL);
	EQ(waitpid(k, &st, 0), k);
	CHECK(n == 2 || n == 3); /* the last two may be one */
}
