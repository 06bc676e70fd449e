// Pipes: order, end of file, EPIPE and SIGPIPE, sizes, non-blocking ends.
#include "t.h"
static volatile int got;
static void on(int s) { got = s; }
int main(void)
{
	int p[2];
	char b[70000];
	OK(pipe2(p, O_NONBLOCK | O_CLOEXEC));
	EQ(fcntl(p[0], F_GETFD), FD_CLOEXEC);
	ERR(read(p[0], b, 1), EAGAIN);
	EQ(write(p[1], "hello", 5), 5);
	EQ(read(p[0], b, 2), 2);
	EQ(read(p[0], b, 100), 3);
	EQ(fcntl(p[0], F_GETPIPE_SZ), 65536);
	memset(b, 1, sizeof b);
	EQ(write(p[1], b, sizeof b), 65536);
	ERR(write(p[1], b, 1), EAGAIN);
	EQ(read(p[0], b, 4096), 4096);
	EQ(write(p[1], b, 4096), 4096);
	ERR(write(p[1], b, 1), EAGAIN);
	EQ(fcntl(p[1], F_SETPIPE_SZ, 1 << 20), 1 << 20);
	EQ(write(p[1], b, 4096), 4096);
	ERR(fcntl(p[1], F_SETPIPE_SZ, 4096), EBUSY);
	while (read(p[0], b, sizeof b) > 0)
		;
	EQ(fcntl(p[1], F_SETPIPE_SZ, 100), 4096);
	OK(close(p[1]));
	EQ(read(p[0], b, 1), 0);
	EQ(read(p[0], NULL, 1), 0); /* at the end the pointer does not matter */
	OK(pipe(p));
	OK(close(p[0]));
	t_on(SIGPIPE, on, 0);
	ERR(write(p[1], "x", 1), EPIPE);
	EQ(got, SIGPIPE);
	OK(pipe(p));
	EQ(write(p[1], b, 0), 0);
	ERR(read(p[1], b, 1), EBADF);
	ERR(write(p[0], b, 1), EBADF);
	ERR(pipe2(p, O_APPEND), EINVAL);
	ERR(pipe((int *)1), EFAULT);
	say("pipe ok");
}
