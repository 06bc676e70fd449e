// poll on pipes, files and bad descriptors; only revents is written.
#include "t.h"
int main(void)
{
	int p[2];
	OK(pipe(p));
	struct pollfd f[3] = { { p[0], POLLIN, 99 }, { p[1], POLLOUT, 99 }, { -1, POLLIN, 99 } };
	EQ(poll(f, 3, 0), 1);
	printf("%x %x %x\n", f[0].revents, f[1].revents, f[2].revents);
	EQ(f[0].fd, p[0]);
	EQ(f[0].events, POLLIN);
	EQ(f[2].fd, -1);
	EQ(write(p[1], "x", 1), 1);
	EQ(poll(f, 3, -1), 2);
	printf("%x %x\n", f[0].revents, f[1].revents);
	OK(close(p[1]));
	f[1].fd = p[1]; /* closed: POLLNVAL */
	EQ(poll(f, 2, 0), 2);
	printf("%x %x\n", f[0].revents, f[1].revents);
	char c;
	EQ(read(p[0], &c, 1), 1);
	f[0].events = 0; /* POLLHUP comes unasked */
	EQ(poll(f, 1, 0), 1);
	printf("%x\n", f[0].revents);
	OK(pipe(p));
	OK(close(p[0]));
	f[0] = (struct pollfd){ p[1], POLLOUT };
	EQ(poll(f, 1, 0), 1);
	printf("%x\n", f[0].revents);
	f[0] = (struct pollfd){ OK(open("f", O_CREAT | O_RDWR, 0600)), POLLIN | POLLOUT | POLLPRI };
	EQ(poll(f, 1, 0), 1);
	printf("%x\n", f[0].revents);
	double t = t_now();
	EQ(poll(NULL, 0, 50), 0);
	CHECK(t_now() - t >= 0.049);
	ERR(poll((void *)8, 1, 0), EFAULT);
	ERR(poll(f, 1 << 20, 0), EINVAL);
}
