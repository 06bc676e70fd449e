// EPOLLEXCLUSIVE: accepted with its flags, and every event is taken by somebody.
#include "t.h"
#include <sys/epoll.h>
int main(void)
{
	int p[2], done[2];
	OK(pipe2(p, O_NONBLOCK));
	OK(pipe(done));
	pid_t k[4];
	for (int i = 0; i < 4; i++)
		if ((k[i] = OK(fork())) == 0) {
			int e = OK(epoll_create1(0));
			struct epoll_event ev = { EPOLLIN | EPOLLEXCLUSIVE }, out;
			EQ(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev), 0);
			ERR(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &ev), EINVAL);
			ev.events |= EPOLLONESHOT;
			ERR(epoll_ctl(e, EPOLL_CTL_ADD, done[0], &ev), EINVAL);
			for (;;) {
				char c;
				EQ(epoll_wait(e, &out, 1, -1), 1);
				if (read(p[0], &c, 1) == 1) {
					if (c == 'q')
						_exit(0);
					EQ(write(done[1], &c, 1), 1);
				}
			}
		}
	char c;
	for (int i = 0; i < 50; i++) {
		EQ(write(p[1], "w", 1), 1);
		EQ(read(done[0], &c, 1), 1);
	}
	for (int i = 0; i < 4; i++)
		EQ(write(p[1], "q", 1), 1);
	for (int i = 0; i < 4; i++)
		t_reap(k[i]);
	say("50 events, 4 workers");
}
