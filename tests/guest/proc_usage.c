// getrusage, times and the CPU clocks move with work and add up children.
#include "t.h"
#include <sys/times.h>
static void burn(double s)
{
	struct timespec t;
	do
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	while (t.tv_sec + t.tv_nsec / 1e9 < s);
}
int main(void)
{
	struct rusage a, b;
	OK(getrusage(RUSAGE_SELF, &a));
	burn(0.12);
	OK(getrusage(RUSAGE_SELF, &b));
	double u = b.ru_utime.tv_sec + b.ru_utime.tv_usec / 1e6 + b.ru_stime.tv_sec + b.ru_stime.tv_usec / 1e6;
	CHECK(u >= 0.10 && u < 5);
	CHECK(b.ru_maxrss > 0);
	OK(getrusage(RUSAGE_CHILDREN, &b));
	EQ(b.ru_utime.tv_sec * 1000000 + b.ru_utime.tv_usec, 0);
	IN_CHILD(burn(0.1));
	OK(getrusage(RUSAGE_CHILDREN, &b));
	u = b.ru_utime.tv_sec + b.ru_utime.tv_usec / 1e6 + b.ru_stime.tv_sec + b.ru_stime.tv_usec / 1e6;
	CHECK(u >= 0.08);
	struct tms t;
	CHECK(times(&t) != -1);
	CHECK(t.tms_cutime + t.tms_cstime >= 8);
	OK(getrusage(RUSAGE_THREAD, &b));
	ERR(getrusage(99, &b), EINVAL);
	struct timespec ts;
	OK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts));
	CHECK(ts.tv_sec > 0 || ts.tv_nsec > 50000000);
	say("usage ok");
}
