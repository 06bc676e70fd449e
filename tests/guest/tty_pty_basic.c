// A pseudo-terminal: names, canonical reading, echo, output processing, FIONREAD.
#include "t.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
static void show(const char *what, int fd)
{
	char b[200];
	struct pollfd f = { fd, POLLIN };
	int n = 0;
	while (n < 150 && poll(&f, 1, n ? 50 : 2000) == 1 && (f.revents & POLLIN)) {
		int r = read(fd, b + n, sizeof b - n);
		if (r <= 0)
			break;
		n += r;
	}
	printf("%s:", what);
	for (int i = 0; i < n; i++)
		printf(b[i] >= 32 && b[i] < 127 ? "%c" : "<%02x>", b[i] & 255);
	puts("");
}
int main(void)
{
	int m = OK(posix_openpt(O_RDWR | O_NOCTTY)), num;
	OK(grantpt(m));
	ERR(open(ptsname(m), O_RDWR | O_NOCTTY), EIO); /* locked */
	OK(unlockpt(m));
	OK(ioctl(m, TIOCGPTN, &num));
	char want[32];
	snprintf(want, sizeof want, "/dev/pts/%d", num);
	EQ(strcmp(ptsname(m), want), 0);
	int s = OK(open(want, O_RDWR | O_NOCTTY));
	CHECK(isatty(s) && isatty(m));
	EQ(strcmp(ttyname(s), want), 0);
	struct termios t;
	OK(tcgetattr(s, &t));
	printf("iflag %o oflag %o lflag %o intr %d eof %d\n", t.c_iflag, t.c_oflag, t.c_lflag, t.c_cc[VINTR], t.c_cc[VEOF]);
	EQ(write(m, "hel\x7flo\n", 7), 7);
	show("echo", m);
	int n = -1;
	OK(ioctl(s, FIONREAD, &n));
	printf("waiting %d\n", n);
	show("line", s);
	EQ(write(m, "kill this\x15" "word one two\x17" "three\n", 29), 29);
	show("echo", m);
	show("line", s);
	EQ(write(m, "no newline", 10), 10);
	struct pollfd f = { s, POLLIN };
	EQ(poll(&f, 1, 30), 0);
	EQ(write(m, "\x04", 1), 1);
	show("eof in a line", s);
	EQ(write(m, "\x04", 1), 1);
	char c;
	EQ(read(s, &c, 1), 0);
	tcflush(m, TCIFLUSH);
	show("echo", m);
	EQ(write(m, "a\x16\x03" "b\r\n", 6), 6); /* literal ^C, and CR becomes NL */
	show("quoted", s);
	show("echo", m);
	EQ(write(s, "out\nput\ttab\n", 12), 12);
	show("output", m);
	EQ(write(m, "lines\nin one\n", 13), 13);
	char b[100];
	EQ(read(s, b, 100), 6); /* one line a read */
	EQ(read(s, b, 3), 3);
	EQ(read(s, b, 100), 4);
	struct stat st;
	OK(stat(want, &st));
	CHECK(S_ISCHR(st.st_mode));
	OK(close(s));
	OK(close(m));
	ERR(open(want, O_RDWR | O_NOCTTY), ENOENT);
}
