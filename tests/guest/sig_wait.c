// sigwaitinfo and sigtimedwait: values, timeouts, EINTR, thread-directed first.
#include "t.h"
static void on(int s) {}
int main(void)
{
	sigset_t s;
	siginfo_t i;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGRTMIN + 1);
	OK(sigprocmask(SIG_BLOCK, &s, NULL));
	struct timespec zero = { 0, 0 }, short_ = { 0, 30000000 }, five = { 5, 0 }, bad = { 0, 1000000000 };
	ERR(sigtimedwait(&s, &i, &zero), EAGAIN);
	double t = t_now();
	ERR(sigtimedwait(&s, &i, &short_), EAGAIN);
	CHECK(t_now() - t >= 0.029);
	ERR(sigtimedwait(&s, &i, &bad), EINVAL);
	union sigval v = { .sival_int = 42 };
	OK(sigqueue(getpid(), SIGRTMIN + 1, v));
	raise(SIGUSR1);
	EQ(sigwaitinfo(&s, &i), SIGUSR1);
	EQ(i.si_code, SI_USER); /* glibc makes SI_USER of SI_TKILL here */
	EQ(sigwaitinfo(&s, &i), SIGRTMIN + 1);
	CHECK(i.si_code == SI_QUEUE && i.si_value.sival_int == 42);
	pid_t me = getpid(), k = OK(fork());
	if (!k) {
		t_until_asleep(me);
		kill(me, SIGUSR1);
		_exit(0);
	}
	EQ(sigtimedwait(&s, &i, &five), SIGUSR1);
	EQ(i.si_pid, k);
	t_reap(k);
	t_on(SIGUSR2, on, SA_RESTART);
	k = OK(fork());
	if (!k) {
		t_until_asleep(me);
		kill(me, SIGUSR2);
		_exit(0);
	}
	ERR(sigtimedwait(&s, &i, &five), EINTR);
	t_reap(k);
	say("sigwait ok");
}
