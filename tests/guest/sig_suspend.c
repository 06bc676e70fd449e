// sigsuspend swaps the mask atomically and puts it back after the handler.
#include "t.h"
static volatile int hits, usr2_blocked_inside;
static void on(int s)
{
	sigset_t m;
	hits++;
	sigprocmask(SIG_BLOCK, NULL, &m);
	usr2_blocked_inside = sigismember(&m, SIGUSR2);
}
int main(void)
{
	sigset_t block, wait_, now;
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &block, NULL));
	sigemptyset(&wait_);
	sigaddset(&wait_, SIGUSR2);
	t_on(SIGUSR1, on, 0);
	raise(SIGUSR1);
	EQ(hits, 0);
	ERR(sigsuspend(&wait_), EINTR);
	EQ(hits, 1);
	EQ(usr2_blocked_inside, 1);
	OK(sigprocmask(SIG_BLOCK, NULL, &now));
	CHECK(sigismember(&now, SIGUSR1) && !sigismember(&now, SIGUSR2));
	/* A thousand hand-overs without losing one. */
	pid_t me = getpid(), k = OK(fork());
	if (!k) {
		hits = 0;
		for (int i = 0; i < 1000; i++) {
			kill(me, SIGUSR1);
			while (hits <= i)
				sigsuspend(&wait_);
		}
		_exit(0);
	}
	hits = 0;
	for (int i = 0; i < 1000; i++) {
		while (hits <= i)
			sigsuspend(&wait_);
		kill(k, SIGUSR1);
	}
	t_reap(k);
	printf("%d\n", hits);
}
