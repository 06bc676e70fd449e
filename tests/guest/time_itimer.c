// setitimer and alarm: real, virtual and profiling timers, intervals, what getitimer tells.
#include "t.h"
static volatile int n[65];
static void on(int s) { n[s]++; }
int main(void)
{
	t_on(SIGALRM, on, 0);
	t_on(SIGVTALRM, on, 0);
	t_on(SIGPROF, on, 0);
	EQ(alarm(100), 0);
	CHECK(alarm(0) >= 99);
	struct itimerval it = { { 0, 10000 }, { 0, 10000 } }, cur;
	OK(setitimer(ITIMER_REAL, &it, NULL));
	OK(getitimer(ITIMER_REAL, &cur));
	CHECK(cur.it_interval.tv_usec == 10000 && cur.it_value.tv_usec <= 10000);
	while (n[SIGALRM] < 5)
		pause();
	it = (struct itimerval){ 0 };
	OK(setitimer(ITIMER_REAL, &it, &cur));
	EQ(cur.it_interval.tv_usec, 10000);
	int seen = n[SIGALRM];
	t_msleep(30);
	EQ(n[SIGALRM], seen);
	/* Virtual time stands still while we sleep. */
	it.it_value.tv_usec = 50000;
	OK(setitimer(ITIMER_VIRTUAL, &it, NULL));
	t_msleep(100);
	EQ(n[SIGVTALRM], 0);
	while (!n[SIGVTALRM])
		;
	OK(setitimer(ITIMER_PROF, &it, NULL));
	while (!n[SIGPROF])
		getppid();
	it.it_value.tv_usec = 1000000;
	ERR(setitimer(ITIMER_REAL, &it, NULL), EINVAL);
	ERR(setitimer(9, &it, NULL), EINVAL);
	ERR(getitimer(9, &it), EINVAL);
	say("itimers ok");
}
