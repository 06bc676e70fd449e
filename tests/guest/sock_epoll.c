// sockets: epoll: levels and edges of data, room, halves and ends.
#include "sock.h"
#include <sys/epoll.h>

static int e;
static struct epoll_event out;

/* What epoll reports now: events of one descriptor, 0 if none. */
static unsigned now(void) { return OK(epoll_wait(e, &out, 1, 0)) ? out.events : 0; }
static void add(int fd, unsigned ev)
{
	struct epoll_event x = { ev, { .fd = fd } };
	OK(epoll_ctl(e, EPOLL_CTL_ADD, fd, &x));
}
static void mod(int fd, unsigned ev)
{
	struct epoll_event x = { ev, { .fd = fd } };
	OK(epoll_ctl(e, EPOLL_CTL_MOD, fd, &x));
}

int main(void)
{
	static char big[300000];
	char b[64];
	int p[2];
	e = OK(epoll_create1(0));
	/* level */
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p));
	add(p[0], EPOLLIN | EPOLLRDHUP);
	EQ(now(), 0);
	EQ(write(p[1], "ab", 2), 2);
	EQ(now(), EPOLLIN);
	EQ(now(), EPOLLIN);
	EQ(read(p[0], b, 1), 1);
	EQ(now(), EPOLLIN);
	EQ(read(p[0], b, 1), 1);
	EQ(now(), 0);
	OK(shutdown(p[1], SHUT_WR));
	EQ(now(), EPOLLIN | EPOLLRDHUP);
	close(p[1]);
	EQ(now(), EPOLLIN | EPOLLRDHUP | EPOLLHUP);
	close(p[0]);
	EQ(now(), 0);
	/* edges of data: one for each arrival */
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p));
	add(p[0], EPOLLIN | EPOLLET | EPOLLRDHUP);
	EQ(write(p[1], "ab", 2), 2);
	EQ(now(), EPOLLIN);
	EQ(now(), 0);
	EQ(read(p[0], b, 1), 1);
	EQ(now(), 0);
	EQ(write(p[1], "c", 1), 1);
	EQ(now(), EPOLLIN);
	EQ(read(p[0], b, 9), 2);
	EQ(now(), 0);
	/* edges of room */
	mod(p[0], 0);
	add(p[1], EPOLLOUT | EPOLLET);
	EQ(now(), EPOLLOUT);
	EQ(now(), 0);
	long n = 0, r;
	while ((r = write(p[1], big, sizeof big)) > 0)
		n += r;
	EQ(now(), 0);
	while (n > 0) {
		r = OK(read(p[0], big, 3000));
		n -= r;
	}
	EQ(now(), EPOLLOUT);
	EQ(now(), 0);
	/* once */
	mod(p[1], 0);
	mod(p[0], EPOLLIN | EPOLLONESHOT);
	EQ(write(p[1], "x", 1), 1);
	EQ(now(), EPOLLIN);
	EQ(now(), 0);
	EQ(write(p[1], "y", 1), 1);
	EQ(now(), 0);
	mod(p[0], EPOLLIN | EPOLLET | EPOLLRDHUP);
	EQ(now(), EPOLLIN);
	EQ(now(), 0);
	/* edges of the end */
	OK(shutdown(p[1], SHUT_WR));
	EQ(now(), EPOLLIN | EPOLLRDHUP);
	EQ(now(), 0);
	EQ(write(p[0], "unread", 6), 6);
	struct epoll_event none;
	OK(epoll_ctl(e, EPOLL_CTL_DEL, p[1], &none));
	close(p[1]);
	EQ(now(), EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	EQ(now(), 0);
	close(p[0]);
	/* listening: an edge for each connection */
	int s = t_listen(SOCK_STREAM, "srv", 9), c[3];
	add(s, EPOLLIN | EPOLLET);
	EQ(now(), 0);
	for (int i = 0; i < 3; i++) {
		c[i] = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
		OK(t_connect(c[i], "srv"));
		EQ(now(), EPOLLIN);
		EQ(now(), 0);
	}
	for (int i = 0; i < 3; i++)
		close(OK(accept(s, NULL, NULL)));
	EQ(now(), 0);
	close(s);
	/* watched before it is connected */
	s = t_listen(SOCK_STREAM, "@t-ep", 9);
	int q = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
	add(q, EPOLLIN | EPOLLET);
	EQ(now(), EPOLLHUP);
	OK(t_connect(q, "@t-ep"));
	int a = OK(accept(s, NULL, NULL));
	while (now())
		;
	EQ(write(a, "hi", 2), 2);
	EQ(now(), EPOLLIN);
	/* asleep in epoll_wait */
	pid_t k = OK(fork());
	if (k == 0) {
		t_until_asleep(getppid());
		_exit(write(a, "more", 4) != 4);
	}
	EQ(epoll_wait(e, &out, 1, 5000), 1);
	EQ(out.events, EPOLLIN);
	t_reap(k);
	/* two waiters on one socket by EPOLLEXCLUSIVE, many messages: none is lost */
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	pid_t w[3];
	for (int i = 0; i < 3; i++)
		if ((w[i] = OK(fork())) == 0) {
			close(p[1]);
			e = OK(epoll_create1(0));
			add(p[0], EPOLLIN | EPOLLEXCLUSIVE);
			OK(fcntl(p[0], F_SETFL, O_NONBLOCK));
			for (;;) {
				EQ(epoll_wait(e, &out, 1, 5000), 1);
				r = read(p[0], b, 64);
				if (r == 4)
					_exit(0);
				CHECK(r == 1 || errno == EAGAIN);
			}
		}
	for (int i = 0; i < 300; i++)
		EQ(write(p[1], "x", 1), 1);
	for (int i = 0; i < 3; i++)
		EQ(write(p[1], "stop", 4), 4);
	for (int i = 0; i < 3; i++)
		t_reap(w[i]);
	say("ok");
	return 0;
}
