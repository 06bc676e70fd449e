// Raw mode: VMIN and VTIME in their four combinations, no echo, no translation.
#include "t.h"
#include <pty.h>
#include <termios.h>
int main(void)
{
	int m, s;
	char b[64];
	OK(openpty(&m, &s, NULL, NULL, NULL));
	struct termios t, u;
	OK(tcgetattr(s, &t));
	cfmakeraw(&t);
	OK(tcsetattr(s, TCSANOW, &t));
	OK(tcgetattr(s, &u));
	EQ(memcmp(&t.c_cc, &u.c_cc, sizeof t.c_cc), 0);
	EQ(write(m, "\r\n\x03\x7f", 4), 4);
	EQ(read(s, b, 64), 4);
	EQ(memcmp(b, "\r\n\x03\x7f", 4), 0);
	struct pollfd f = { m, POLLIN };
	EQ(poll(&f, 1, 20), 0); /* no echo */
	EQ(write(s, "a\n", 2), 2);
	EQ(read(m, b, 64), 2);
	t.c_cc[VMIN] = 0;
	t.c_cc[VTIME] = 0;
	OK(tcsetattr(s, TCSANOW, &t));
	EQ(read(s, b, 64), 0); /* nothing: at once */
	t.c_cc[VTIME] = 1;
	OK(tcsetattr(s, TCSANOW, &t));
	double a = t_now();
	EQ(read(s, b, 64), 0);
	CHECK(t_now() - a >= 0.09 && t_now() - a < 3);
	t.c_cc[VMIN] = 5;
	t.c_cc[VTIME] = 0;
	OK(tcsetattr(s, TCSANOW, &t));
	pid_t k = OK(fork());
	if (!k) {
		for (int i = 0; i < 5; i++) {
			EQ(write(m, "12345" + i, 1), 1);
			t_msleep(3);
		}
		_exit(0);
	}
	EQ(read(s, b, 64), 5); /* waits for five */
	t_reap(k);
	t.c_cc[VTIME] = 1;
	OK(tcsetattr(s, TCSANOW, &t));
	EQ(write(m, "xyz", 3), 3);
	EQ(read(s, b, 64), 3); /* a pause between bytes ends it */
	OK(fcntl(s, F_SETFL, O_NONBLOCK));
	ERR(read(s, b, 1), EAGAIN);
	EQ(write(m, "q", 1), 1);
	t.c_lflag |= ICANON;
	OK(tcsetattr(s, TCSAFLUSH, &t)); /* throws the q away */
	ERR(read(s, b, 1), EAGAIN);
	say("raw ok");
}
