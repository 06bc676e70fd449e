// Edge-triggered and one-shot events fire once per change.
#include "t.h"
#include <sys/epoll.h>
int main(void)
{
	int e = OK(epoll_create1(0)), p[2];
	char c;
	OK(pipe(p));
	struct epoll_event ev = { EPOLLIN | EPOLLET }, out;
	EQ(write(p[1], "a", 1), 1);
	EQ(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev), 0); /* ready when added: one event */
	EQ(epoll_wait(e, &out, 1, 0), 1);
	EQ(epoll_wait(e, &out, 1, 0), 0);
	EQ(write(p[1], "b", 1), 1); /* new data, new edge though it was never empty */
	EQ(epoll_wait(e, &out, 1, 0), 1);
	EQ(read(p[0], &c, 1), 1);
	EQ(epoll_wait(e, &out, 1, 0), 0); /* reading makes no edge */
	EQ(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev), 0); /* modifying arms again */
	EQ(epoll_wait(e, &out, 1, 0), 1);
	ev.events = EPOLLIN | EPOLLONESHOT;
	EQ(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev), 0);
	EQ(epoll_wait(e, &out, 1, 0), 1);
	EQ(write(p[1], "c", 1), 1);
	EQ(epoll_wait(e, &out, 1, 0), 0); /* disarmed */
	EQ(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev), 0);
	EQ(epoll_wait(e, &out, 1, 0), 1);
	say("edges ok");
}
