// sockets: datagrams queue up to a bound; senders wait, poll and epoll say when there is room.
#include "sock.h"
#include <sys/epoll.h>

static void got_alarm(int s) { (void)s; }

int main(void)
{
	char b[64];
	int s = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), c = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	OK(t_bind(s, "srv"));
	OK(t_connect(c, "srv"));
	int e = OK(epoll_create1(0));
	struct epoll_event ev = { EPOLLOUT | EPOLLET, { .u32 = 7 } }, out;
	OK(epoll_ctl(e, EPOLL_CTL_ADD, c, &ev));
	EQ(epoll_wait(e, &out, 1, 0), 1);
	EQ(epoll_wait(e, &out, 1, 0), 0);
	int n = 0;
	while (send(c, "x", 1, MSG_DONTWAIT) == 1)
		n++;
	EQ(errno, EAGAIN);
	CHECK(n > 1 && n < 100000);
	EQ(t_poll(c, POLLOUT), 0);
	/* a second sender is put off, too */
	int c2 = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	socklen_t l;
	struct sockaddr *a = t_addr("srv", &l);
	ERR(sendto(c2, "y", 1, MSG_DONTWAIT, a, l), EAGAIN);
	EQ(epoll_wait(e, &out, 1, 0), 0);
	/* a time-out */
	struct timeval tv = { 0, 50000 };
	OK(setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv));
	double t0 = t_now();
	ERR(send(c, "x", 1, 0), EAGAIN);
	CHECK(t_now() - t0 > 0.04);
	tv.tv_usec = 0;
	OK(setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv));
	/* a signal */
	t_on(SIGALRM, got_alarm, 0);
	struct itimerval it = { { 0, 0 }, { 0, 50000 } };
	OK(setitimer(ITIMER_REAL, &it, NULL));
	ERR(send(c, "x", 1, 0), EINTR);
	/* one is received: one sender goes on */
	pid_t k = OK(fork());
	if (k == 0) {
		EQ(send(c, "z", 1, 0), 1);
		_exit(0);
	}
	t_until_asleep(k);
	EQ(read(s, b, 64), 1);
	t_reap(k);
	for (int i = 0; i < n; i++)
		EQ(recv(s, b, 64, MSG_DONTWAIT), 1);
	CHECK(b[0] == 'z');
	ERR(recv(s, b, 64, MSG_DONTWAIT), EAGAIN);
	EQ(t_poll(c, POLLOUT), POLLOUT);
	EQ(epoll_wait(e, &out, 1, 1000), 1);
	EQ(out.events, EPOLLOUT);
	/* poll sleeps until there is room */
	while (send(c, "x", 1, MSG_DONTWAIT) == 1)
		;
	k = OK(fork());
	if (k == 0) {
		t_until_asleep(getppid());
		EQ(read(s, b, 64), 1);
		_exit(0);
	}
	struct pollfd p = { c, POLLOUT, 0 };
	EQ(poll(&p, 1, 5000), 1);
	EQ(p.revents, POLLOUT);
	t_reap(k);
	/* the receiver goes */
	while (send(c, "x", 1, MSG_DONTWAIT) == 1)
		;
	k = OK(fork());
	if (k == 0) {
		close(s);
		ERR(send(c, "x", 1, 0), ECONNREFUSED);
		_exit(0);
	}
	t_until_asleep(k);
	close(s);
	t_reap(k);
	say("ok");
	return 0;
}
