// An epoll in an epoll, in poll, and the refusal of loops; descriptors kept alive by dup.
#include "t.h"
#include <sys/epoll.h>
int main(void)
{
	int in = OK(epoll_create1(0)), out = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	struct epoll_event ev = { EPOLLIN, { .u32 = 1 } }, got;
	EQ(epoll_ctl(in, EPOLL_CTL_ADD, p[0], &ev), 0);
	ev.data.u32 = 2;
	EQ(epoll_ctl(out, EPOLL_CTL_ADD, in, &ev), 0);
	ERR(epoll_ctl(in, EPOLL_CTL_ADD, out, &ev), ELOOP);
	EQ(epoll_wait(out, &got, 1, 0), 0);
	struct pollfd f = { out, POLLIN };
	EQ(poll(&f, 1, 0), 0);
	EQ(write(p[1], "x", 1), 1);
	EQ(poll(&f, 1, 0), 1);
	EQ(epoll_wait(out, &got, 1, 0), 1);
	EQ(got.data.u32, 2);
	EQ(epoll_wait(in, &got, 1, 0), 1);
	EQ(got.data.u32, 1);
	/* The registration lives as long as the open file, not the number. */
	int d = OK(dup(p[0]));
	OK(close(p[0]));
	EQ(epoll_wait(in, &got, 1, 0), 1);
	OK(close(d));
	EQ(epoll_wait(in, &got, 1, 0), 0);
	say("nested ok");
}
