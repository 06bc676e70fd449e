// Controlling terminal rules: TIOCSCTTY, /dev/tty, TIOCNOTTY, tcsetpgrp errors.
#include "t.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
int main(void)
{
	int m, s;
	OK(openpty(&m, &s, NULL, NULL, NULL));
	pid_t k = OK(fork());
	if (!k) {
		OK(setsid());
		ERR(open("/dev/tty", O_RDWR), ENXIO);
		ERR(tcgetpgrp(s), ENOTTY);
		OK(ioctl(s, TIOCSCTTY, 0));
		OK(ioctl(s, TIOCSCTTY, 0)); /* again: fine */
		int t = OK(open("/dev/tty", O_RDWR));
		EQ(tcgetsid(t), getpid());
		ERR(tcsetpgrp(s, -1), EINVAL);
		ERR(tcsetpgrp(s, 1 << 22), ESRCH);
		pid_t other = OK(fork());
		if (!other) {
			OK(setsid());
			ERR(ioctl(s, TIOCSCTTY, 0), EPERM); /* it has a session already */
			ERR(tcgetpgrp(s), ENOTTY);
			_exit(0);
		}
		t_reap(other);
		signal(SIGHUP, SIG_IGN);
		OK(ioctl(t, TIOCNOTTY));
		ERR(open("/dev/tty", O_RDWR), ENXIO);
		_exit(0);
	}
	t_reap(k);
	/* Opening a terminal without O_NOCTTY makes it ours if we lead a session without one. */
	OK(openpty(&m, &s, NULL, NULL, NULL));
	k = OK(fork());
	if (!k) {
		OK(setsid());
		int t = OK(open(ptsname(m), O_RDWR));
		EQ(tcgetsid(t), getpid());
		OK(open("/dev/tty", O_RDWR));
		_exit(0);
	}
	t_reap(k);
	say("sessions ok");
}
