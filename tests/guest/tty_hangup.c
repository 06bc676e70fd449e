// Closing the master hangs up: SIGHUP and SIGCONT to the session leader, EIO and end of file after.
#include "t.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
static volatile int hup, cont;
static void on(int s) { if (s == SIGHUP) hup++; else cont++; }
int main(void)
{
	int m, s, p[2], st;
	OK(openpty(&m, &s, NULL, NULL, NULL));
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		OK(close(m));
		OK(setsid());
		OK(ioctl(s, TIOCSCTTY, 0));
		t_on(SIGHUP, on, SA_RESTART);
		t_on(SIGCONT, on, SA_RESTART);
		EQ(write(p[1], "r", 1), 1);
		char c;
		/* In the midst of it EIO, once hung up for good end of file. */
		CHECK(read(s, &c, 1) == 0 || errno == EIO);
		while (!hup || !cont)
			t_msleep(1);
		EQ(read(s, &c, 1), 0);
		ERR(write(s, "x", 1), EIO);
		struct pollfd f = { s, POLLIN | POLLOUT };
		EQ(poll(&f, 1, 0), 1);
		printf("hangup seen, poll %d\n", !!(f.revents & POLLHUP));
		ERR(open("/dev/tty", O_RDWR), ENXIO);
		_exit(0);
	}
	char c;
	EQ(read(p[0], &c, 1), 1);
	OK(close(s));
	t_until_asleep(k);
	OK(close(m));
	t_reap(k);
	/* The other way round: with no slave open the master reads EIO. */
	OK(openpty(&m, &s, NULL, NULL, NULL));
	EQ(write(s, "last words", 10), 10);
	OK(close(s));
	char b[32];
	EQ(read(m, b, 32), 10);
	ERR(read(m, b, 32), EIO);
	struct pollfd f = { m, POLLIN };
	EQ(poll(&f, 1, 0), 1);
	printf("master poll %d\n", !!(f.revents & POLLHUP));
	/* A leader's end takes the terminal from the session. */
	OK(openpty(&m, &s, NULL, NULL, NULL));
	k = OK(fork());
	if (!k) {
		OK(setsid());
		OK(ioctl(s, TIOCSCTTY, 0));
		pid_t g = OK(fork());
		if (!g) {
			signal(SIGHUP, SIG_DFL);
			EQ(write(p[1], "g", 1), 1);
			for (;;)
				pause();
		}
		EQ(read(p[0], &c, 1), 1);
		_exit(0);
	}
	EQ(waitpid(k, &st, 0), k);
	EQ(st, 0);
	say("hangup ok");
}
