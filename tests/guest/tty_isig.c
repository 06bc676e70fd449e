// ^C, ^\ and ^Z signal the foreground group only; with ISIG off they are bytes.
#include "t.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
int main(void)
{
	int m, s, st;
	OK(openpty(&m, &s, NULL, NULL, NULL));
	pid_t lead = OK(fork());
	if (lead == 0) {
		OK(close(m) + 1);
		OK(setsid());
		OK(ioctl(s, TIOCSCTTY, 0));
		EQ(tcgetsid(s), getpid());
		EQ(tcgetpgrp(s), getpid());
		signal(SIGTTOU, SIG_IGN);
		pid_t bg = OK(fork());
		if (!bg) {
			OK(setpgid(0, 0));
			for (;;)
				pause();
		}
		setpgid(bg, bg);
		for (int i = 0; i < 3; i++) {
			pid_t k = OK(fork());
			if (!k) {
				signal(SIGTTOU, SIG_IGN);
				OK(setpgid(0, 0));
				OK(tcsetpgrp(s, getpid()));
				EQ(write(s, "R", 1), 1); /* the master types when it sees this */
				for (;;)
					pause();
			}
			EQ(waitpid(k, &st, WUNTRACED), k);
			if (WIFSTOPPED(st)) {
				dprintf(1, "stopped by %d\n", WSTOPSIG(st));
				kill(k, SIGKILL);
				waitpid(k, &st, 0);
			} else {
				dprintf(1, "ended by %d\n", WTERMSIG(st));
			}
			OK(tcsetpgrp(s, getpgrp()));
		}
		EQ(waitpid(bg, &st, WNOHANG | WUNTRACED), 0); /* the background felt nothing */
		/* A background read stops the reader. */
		pid_t r = OK(fork());
		if (!r) {
			char c;
			OK(setpgid(0, 0));
			while (tcgetpgrp(s) == getpgrp())
				;
			read(s, &c, 1);
			_exit(0);
		}
		EQ(waitpid(r, &st, WUNTRACED), r);
		dprintf(1, "background read: stopped %d by %d\n", WIFSTOPPED(st), WSTOPSIG(st));
		kill(r, SIGKILL);
		waitpid(r, &st, 0);
		struct termios t;
		OK(tcgetattr(s, &t));
		t.c_lflag &= ~(ISIG | ICANON | ECHO);
		OK(tcsetattr(s, TCSANOW, &t));
		EQ(write(s, "R", 1), 1);
		char c;
		EQ(read(s, &c, 1), 1);
		dprintf(1, "ISIG off: byte %d\n", c);
		kill(bg, SIGKILL);
		_exit(0);
	}
	OK(close(s));
	static const char keys[] = "\x03\x1c\x1a\x03";
	char c;
	for (int i = 0; i < 4;) {
		ssize_t n = read(m, &c, 1);
		if (n != 1)
			break;
		if (c == 'R')
			EQ(write(m, keys + i++, 1), 1);
	}
	t_reap(lead);
}
