// Window size: TIOCSWINSZ on either side, SIGWINCH to the foreground group when it changes.
#include "t.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
static volatile int n;
static void on(int s) { n++; }
int main(void)
{
	int m, s;
	struct winsize w = { 24, 80, 0, 0 }, g;
	OK(openpty(&m, &s, NULL, NULL, &w));
	OK(ioctl(m, TIOCGWINSZ, &g));
	printf("%d x %d\n", g.ws_row, g.ws_col);
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		OK(setsid());
		OK(ioctl(s, TIOCSCTTY, 0));
		t_on(SIGWINCH, on, 0);
		sigset_t b, o;
		sigemptyset(&b);
		sigaddset(&b, SIGWINCH);
		OK(sigprocmask(SIG_BLOCK, &b, &o));
		EQ(write(p[1], "r", 1), 1);
		while (!n)
			sigsuspend(&o);
		OK(ioctl(s, TIOCGWINSZ, &g));
		printf("told: %d x %d\n", g.ws_row, g.ws_col);
		_exit(0);
	}
	char c;
	EQ(read(p[0], &c, 1), 1);
	OK(ioctl(m, TIOCSWINSZ, &w)); /* the same: no signal */
	w.ws_row = 50;
	w.ws_col = 132;
	OK(ioctl(m, TIOCSWINSZ, &w));
	t_reap(k);
	ERR(ioctl(OK(open("/dev/null", O_RDWR)), TIOCGWINSZ, &w), ENOTTY);
	int q[2];
	OK(pipe(q));
	ERR(ioctl(q[0], TCGETS, &w), ENOTTY);
	ERR(ioctl(99, TCGETS, &w), EBADF);
}
