// SA_RESTART against EINTR for read, write, wait, flock-like waits and sleeps.
#include "t.h"
#include <sys/file.h>
static volatile int n;
static pid_t me;
static void on(int s) { n++; }
/* A child that interrupts us once we sleep, then after a while lets the call succeed. */
static pid_t poker(int fd, const char *what)
{
	pid_t k = OK(fork());
	if (!k) {
		t_until_asleep(me);
		kill(me, SIGUSR1);
		t_msleep(30);
		if (fd >= 0)
			write(fd, what, 1);
		_exit(0);
	}
	return k;
}
int main(void)
{
	int p[2];
	char c;
	me = getpid();
	OK(pipe(p));
	t_on(SIGUSR1, on, SA_RESTART);
	pid_t k = poker(p[1], "a");
	EQ(read(p[0], &c, 1), 1);
	EQ(n, 1);
	t_reap(k);
	k = poker(-1, "");
	t_reap(k); /* waitpid itself is restarted */
	EQ(n, 2);
	t_on(SIGUSR1, on, 0);
	k = poker(p[1], "b");
	ERR(read(p[0], &c, 1), EINTR);
	EQ(read(p[0], &c, 1), 1);
	t_reap(k);
	k = poker(-1, "");
	int st;
	ERR(waitpid(k, &st, 0), EINTR);
	while (waitpid(k, &st, 0) != k)
		;
	/* A partial write counts; only an untouched one says EINTR. */
	char *big = calloc(1, 100000);
	k = poker(-1, "");
	EQ(write(p[1], big, 100000), 65536);
	t_reap(k);
	k = poker(-1, "");
	ERR(write(p[1], big, 10), EINTR);
	t_reap(k);
	/* Sleeps and polls are never restarted. */
	t_on(SIGUSR1, on, SA_RESTART);
	struct timespec ts = { 5, 0 }, left;
	k = poker(-1, "");
	ERR(nanosleep(&ts, &left), EINTR);
	CHECK(left.tv_sec == 4 && left.tv_nsec > 0);
	t_reap(k);
	k = poker(-1, "");
	ERR(pause(), EINTR);
	t_reap(k);
	/* Ignored and stop-continue signals do not interrupt a read. */
	signal(SIGUSR1, SIG_IGN);
	while (read(p[0], big, 100000) == 100000)
		;
	k = poker(p[1], "z");
	EQ(read(p[0], &c, 1), 1);
	EQ(c, 'z');
	t_reap(k);
	say("restart ok");
}
