// nanosleep and clock_nanosleep: relative, absolute, past, errors, EINTR with the rest.
#include "t.h"
static void on(int s) {}
int main(void)
{
	struct timespec ts = { 0, 20000000 }, rem = { 7, 7 };
	double t = t_now();
	EQ(nanosleep(&ts, &rem), 0);
	CHECK(t_now() - t >= 0.02);
	EQ(rem.tv_sec, 7); /* untouched */
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += 20000000;
	if (ts.tv_nsec >= 1000000000)
		ts.tv_nsec -= 1000000000, ts.tv_sec++;
	t = t_now();
	EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL), 0);
	CHECK(t_now() - t >= 0.015);
	EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL), 0); /* past: at once */
	ts = (struct timespec){ 0, 0 };
	EQ(nanosleep(&ts, NULL), 0);
	ts.tv_nsec = 1000000000;
	ERR(nanosleep(&ts, NULL), EINVAL);
	ts = (struct timespec){ -1, 0 };
	ERR(nanosleep(&ts, NULL), EINVAL);
	EQ(clock_nanosleep(99, 0, &ts, NULL), EINVAL);
	t_on(SIGALRM, on, 0);
	struct itimerval it = { .it_value = { 0, 20000 } };
	setitimer(ITIMER_REAL, &it, NULL);
	ts = (struct timespec){ 10, 0 };
	ERR(nanosleep(&ts, &rem), EINTR);
	CHECK(rem.tv_sec == 9 && rem.tv_nsec > 500000000);
	setitimer(ITIMER_REAL, &it, NULL);
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 10;
	rem.tv_sec = 5;
	EQ(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &ts, &rem), EINTR);
	EQ(rem.tv_sec, 5); /* absolute: no rest is told */
	say("sleeps ok");
}
