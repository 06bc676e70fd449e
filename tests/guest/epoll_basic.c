// epoll: add, modify, remove, level triggering, refusals, data returned untouched.
#include "t.h"
#include <sys/epoll.h>
int main(void)
{
	int e = OK(epoll_create1(EPOLL_CLOEXEC)), p[2];
	OK(pipe(p));
	struct epoll_event ev = { EPOLLIN, { .u64 = 0x1122334455667788 } }, out[4];
	EQ(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev), 0);
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev), EEXIST);
	ERR(epoll_ctl(e, EPOLL_CTL_MOD, p[1], &ev), ENOENT);
	ERR(epoll_ctl(e, EPOLL_CTL_DEL, p[1], &ev), ENOENT);
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, 99, &ev), EBADF);
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, e, &ev), EINVAL);
	ERR(epoll_ctl(e, EPOLL_CTL_ADD, OK(open("f", O_CREAT | O_RDWR, 0600)), &ev), EPERM);
	ERR(epoll_ctl(e, 77, p[0], &ev), EINVAL);
	EQ(epoll_wait(e, out, 4, 0), 0);
	ERR(epoll_wait(e, out, 0, 0), EINVAL);
	ERR(epoll_wait(p[0], out, 4, 0), EINVAL);
	EQ(write(p[1], "ab", 2), 2);
	for (int i = 0; i < 2; i++) {
		EQ(epoll_wait(e, out, 4, -1), 1);
		EQ(out[0].events, EPOLLIN);
		EQ(out[0].data.u64, 0x1122334455667788);
	}
	ev.events = EPOLLOUT;
	ev.data.u64 = 5;
	EQ(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev), 0);
	EQ(epoll_wait(e, out, 4, 0), 0);
	EQ(epoll_ctl(e, EPOLL_CTL_ADD, p[1], &ev), 0);
	EQ(epoll_wait(e, out, 4, 0), 1);
	EQ(out[0].events, EPOLLOUT);
	OK(close(p[1]));
	EQ(epoll_wait(e, out, 4, 0), 1); /* the writer is gone from the set; the reader hangs up */
	EQ(out[0].events, EPOLLHUP);
	EQ(epoll_ctl(e, EPOLL_CTL_DEL, p[0], NULL), 0);
	EQ(epoll_wait(e, out, 4, 0), 0);
	ERR(epoll_create1(1), EINVAL);
	ERR(epoll_create(0), EINVAL);
	say("epoll ok");
}
