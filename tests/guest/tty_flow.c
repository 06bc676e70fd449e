// ^S and ^Q stop and start output; tcflow, a full buffer blocks and drains.
#include "t.h"
#include <pty.h>
#include <termios.h>
int main(void)
{
	int m, s;
	OK(openpty(&m, &s, NULL, NULL, NULL));
	struct termios t;
	OK(tcgetattr(s, &t));
	t.c_lflag &= ~ECHO;
	t.c_oflag = 0;
	OK(tcsetattr(s, TCSANOW, &t));
	/* The line after it, once read, says that the ^S has been looked at. */
	char line[8];
	EQ(write(m, "\x13\n", 2), 2);
	EQ(read(s, line, 8), 1);
	OK(fcntl(s, F_SETFL, O_NONBLOCK));
	struct pollfd f = { m, POLLIN };
	ERR(write(s, "held", 4), EAGAIN);
	EQ(poll(&f, 1, 30), 0);
	OK(fcntl(s, F_SETFL, 0));
	EQ(write(m, "\x11\n", 2), 2);
	EQ(read(s, line, 8), 1);
	EQ(write(s, "x", 1), 1);
	EQ(poll(&f, 1, 2000), 1);
	char b[65536];
	CHECK(read(m, b, sizeof b) > 0);
	pid_t k = OK(fork());
	if (!k) {
		char big[200000];
		memset(big, 'z', sizeof big);
		EQ(write(s, big, sizeof big), sizeof big);
		OK(tcdrain(s));
		_exit(0);
	}
	OK(close(s));
	long total = 0;
	ssize_t n;
	while ((n = read(m, b, sizeof b)) > 0)
		for (ssize_t i = 0; i < n; i++)
			total += b[i] == 'z';
	printf("%ld bytes through\n", total);
	t_reap(k);
}
