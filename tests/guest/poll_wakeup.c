// A sleeping poll wakes for data, for hang-up and for a signal; ppoll's mask is atomic.
#include "t.h"
static volatile int got;
static void on(int s) { got = s; }
int main(void)
{
	int p[2];
	OK(pipe(p));
	pid_t me = getpid();
	struct pollfd f = { p[0], POLLIN };
	pid_t k = OK(fork());
	if (!k) {
		t_until_asleep(me);
		EQ(write(p[1], "x", 1), 1);
		_exit(0);
	}
	EQ(poll(&f, 1, 5000), 1);
	EQ(f.revents, POLLIN);
	t_reap(k);
	char c;
	EQ(read(p[0], &c, 1), 1);
	k = OK(fork());
	if (!k) {
		t_until_asleep(me);
		_exit(0);
	}
	OK(close(p[1]));
	EQ(poll(&f, 1, 5000), 1);
	EQ(f.revents, POLLHUP);
	t_reap(k);
	t_on(SIGUSR1, on, SA_RESTART);
	k = OK(fork());
	if (!k) {
		t_until_asleep(me);
		kill(me, SIGUSR1);
		_exit(0);
	}
	ERR(poll(NULL, 0, 5000), EINTR); /* never restarted */
	EQ(got, SIGUSR1);
	t_reap(k);
	sigset_t s, none;
	sigemptyset(&none);
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &s, NULL));
	got = 0;
	raise(SIGUSR1);
	struct timespec ts = { 5, 0 };
	ERR(ppoll(NULL, 0, &ts, &none), EINTR);
	EQ(got, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, NULL, &none));
	CHECK(sigismember(&none, SIGUSR1)); /* the mask is back */
	say("wakeups ok");
}
