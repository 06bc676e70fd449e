// clock_gettime: clocks advance, agree with each other, resolution and errors.
#include "t.h"
int main(void)
{
	struct timespec a, b, r;
	long last = 0;
	for (int i = 0; i < 200000; i++) {
		OK(clock_gettime(CLOCK_MONOTONIC, &a));
		long now = a.tv_sec * 1000000000L + a.tv_nsec;
		CHECK(now >= last && a.tv_nsec >= 0 && a.tv_nsec < 1000000000);
		last = now;
	}
	OK(clock_gettime(CLOCK_REALTIME, &r));
	CHECK(r.tv_sec > 1700000000);
	struct timeval tv;
	OK(gettimeofday(&tv, NULL));
	CHECK(tv.tv_sec - r.tv_sec <= 1);
	CHECK(time(NULL) - tv.tv_sec <= 1);
	/* The system call and the vDSO show the same clock. */
	OK(clock_gettime(CLOCK_MONOTONIC, &a));
	OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &b));
	CHECK(b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) / 1e9 >= 0);
	OK(clock_gettime(CLOCK_MONOTONIC, &a));
	CHECK(a.tv_sec - b.tv_sec + (a.tv_nsec - b.tv_nsec) / 1e9 >= 0);
	OK(syscall(SYS_clock_gettime, CLOCK_REALTIME, &b));
	CHECK(b.tv_sec - r.tv_sec <= 1 && b.tv_sec >= r.tv_sec);
	int ids[] = { CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE, CLOCK_REALTIME_COARSE, CLOCK_TAI };
	for (int i = 0; i < 5; i++)
		OK(clock_gettime(ids[i], &a));
	OK(clock_getres(CLOCK_MONOTONIC, &r));
	printf("resolution %ld ns\n", r.tv_nsec);
	ERR(clock_gettime(77, &a), EINVAL);
	ERR(clock_getres(77, NULL), EINVAL);
	ERR(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, (void *)1), EFAULT);
	/* Real time passes as sleeping says. */
	double t = t_now();
	usleep(50000);
	t = t_now() - t;
	CHECK(t >= 0.05 && t < 2);
}
