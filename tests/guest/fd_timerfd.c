// timerfd: one shot, interval, absolute, gettime, overruns counted, poll.
#include "t.h"
#include <sys/timerfd.h>
int main(void)
{
	int t = OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	uint64_t n;
	ERR(read(t, &n, 8), EAGAIN);
	struct itimerspec it = { .it_value = { 0, 20000000 } }, cur;
	EQ(timerfd_settime(t, 0, &it, NULL), 0);
	EQ(timerfd_gettime(t, &cur), 0);
	CHECK(cur.it_value.tv_nsec > 0 && cur.it_value.tv_nsec <= 20000000);
	struct pollfd f = { t, POLLIN };
	EQ(poll(&f, 1, 5000), 1);
	EQ(read(t, &n, 8), 8);
	EQ(n, 1);
	EQ(timerfd_gettime(t, &cur), 0);
	EQ(cur.it_value.tv_nsec, 0);
	it.it_interval.tv_nsec = 5000000;
	it.it_value.tv_nsec = 5000000;
	EQ(timerfd_settime(t, 0, &it, NULL), 0);
	t_msleep(60);
	EQ(read(t, &n, 8), 8);
	CHECK(n >= 11);
	struct itimerspec old;
	it = (struct itimerspec){ 0 };
	EQ(timerfd_settime(t, 0, &it, &old), 0);
	EQ(old.it_interval.tv_nsec, 5000000);
	ERR(read(t, &n, 8), EAGAIN);
	struct timespec now;
	OK(clock_gettime(CLOCK_REALTIME, &now));
	int r = OK(timerfd_create(CLOCK_REALTIME, 0));
	it.it_value = now; /* in the past: at once */
	EQ(timerfd_settime(r, TFD_TIMER_ABSTIME, &it, NULL), 0);
	EQ(read(r, &n, 8), 8);
	EQ(n, 1);
	it.it_value.tv_nsec = 1000000000;
	ERR(timerfd_settime(r, 0, &it, NULL), EINVAL);
	ERR(timerfd_create(99, 0), EINVAL);
	ERR(timerfd_create(CLOCK_MONOTONIC, 0x10), EINVAL);
	ERR(timerfd_settime(0, 0, &it, NULL), EINVAL);
	say("timerfd ok");
}
