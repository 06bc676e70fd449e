// Timers on CPU time: they tick only while the process works.
#include "t.h"
#include <pthread.h>
static volatile int n;
static void on(int s) { n++; }
int main(void)
{
	timer_t t;
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	t_on(SIGUSR1, on, 0);
	OK(timer_create(CLOCK_PROCESS_CPUTIME_ID, &ev, &t));
	struct itimerspec it = { .it_value = { 0, 50000000 } };
	OK(timer_settime(t, 0, &it, NULL));
	t_msleep(100);
	EQ(n, 0);
	while (!n)
		;
	struct timespec c;
	OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &c));
	CHECK(c.tv_sec > 0 || c.tv_nsec >= 40000000);
	clockid_t id;
	EQ(clock_getcpuclockid(getpid(), &id), 0);
	OK(clock_gettime(id, &c));
	EQ(pthread_getcpuclockid(pthread_self(), &id), 0);
	OK(clock_gettime(id, &c));
	say("cpu timers ok");
}
