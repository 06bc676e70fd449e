// timer_create: signals with values, overruns, absolute times, thread notification, errors.
#include "t.h"
static volatile int n, value, code, over;
static timer_t t;
static void on(int s, siginfo_t *i, void *u)
{
	n++;
	value = i->si_value.sival_int;
	code = i->si_code;
}
int main(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 31 };
	t_on_info(SIGRTMIN, on, 0);
	OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
	struct itimerspec it = { .it_value = { 0, 10000000 } }, cur;
	OK(timer_settime(t, 0, &it, NULL));
	while (!n)
		pause();
	CHECK(value == 31 && code == SI_TIMER);
	OK(timer_gettime(t, &cur));
	EQ(cur.it_value.tv_nsec + cur.it_value.tv_sec, 0);
	/* Blocked for a while: one signal, the rest are overruns. */
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGRTMIN);
	OK(sigprocmask(SIG_BLOCK, &s, NULL));
	it.it_interval.tv_nsec = it.it_value.tv_nsec = 5000000;
	OK(timer_settime(t, 0, &it, NULL));
	t_msleep(60);
	siginfo_t i;
	EQ(sigwaitinfo(&s, &i), SIGRTMIN);
	CHECK(i.si_overrun >= 9 && timer_getoverrun(t) >= 9);
	OK(timer_delete(t));
	ERR(timer_gettime(t, &cur), EINVAL);
	OK(timer_create(CLOCK_REALTIME, NULL, &t)); /* SIGALRM by default */
	sigaddset(&s, SIGALRM);
	OK(sigprocmask(SIG_BLOCK, &s, NULL));
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	it = (struct itimerspec){ .it_value = now };
	OK(timer_settime(t, TIMER_ABSTIME, &it, NULL));
	while (sigwaitinfo(&s, &i) != SIGALRM)
		;
	CHECK(i.si_code == SI_TIMER);
	ev.sigev_notify = SIGEV_NONE;
	OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
	ev.sigev_signo = 99;
	ev.sigev_notify = SIGEV_SIGNAL;
	ERR(timer_create(CLOCK_MONOTONIC, &ev, &t), EINVAL);
	ERR(timer_create(99, NULL, &t), EINVAL);
	it.it_value.tv_nsec = -1;
	ERR(timer_settime(t, 0, &it, NULL), EINVAL);
	say("posix timers ok");
}
