// sockets: what poll and select say in every state, and that they wake.
#include "sock.h"
#include <sys/select.h>

#define ALL (POLLIN | POLLOUT | POLLRDHUP | POLLPRI | POLLRDNORM | POLLWRNORM | POLLWRBAND | POLLRDBAND)
#define IN (POLLIN | POLLRDNORM)
#define OUT (POLLOUT | POLLWRNORM | POLLWRBAND)

int main(void)
{
	int p[2];
	char b[64];
	static char big[300000];
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	EQ(t_poll(s, ALL), OUT | POLLHUP);
	OK(t_bind(s, "@t-poll"));
	EQ(t_poll(s, ALL), OUT | POLLHUP);
	OK(listen(s, 3));
	EQ(t_poll(s, ALL), 0);
	int c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(t_connect(c, "@t-poll"));
	EQ(t_poll(s, ALL), IN);
	EQ(t_poll(c, ALL), OUT);
	int a = OK(accept(s, NULL, NULL));
	EQ(t_poll(s, ALL), 0);
	EQ(t_poll(a, ALL), OUT);
	EQ(write(c, "x", 1), 1);
	EQ(t_poll(a, ALL), IN | OUT);
	EQ(read(a, b, 1), 1);
	EQ(t_poll(a, ALL), OUT);
	/* full, and not full any more */
	OK(fcntl(c, F_SETFL, O_NONBLOCK));
	long n = 0, r;
	while ((r = write(c, big, sizeof big)) > 0)
		n += r;
	EQ(errno, EAGAIN);
	EQ(t_poll(c, ALL), 0);
	EQ(t_poll(a, ALL), IN | OUT);
	while (n > 0) {
		r = OK(read(a, big, sizeof big));
		n -= r;
	}
	EQ(n, 0);
	EQ(t_poll(c, ALL), OUT);
	/* halves */
	OK(shutdown(c, SHUT_WR));
	EQ(t_poll(c, ALL), OUT);
	EQ(t_poll(a, ALL), IN | OUT | POLLRDHUP);
	OK(shutdown(c, SHUT_RD));
	EQ(t_poll(c, ALL), IN | OUT | POLLRDHUP | POLLHUP);
	EQ(t_poll(a, ALL), IN | OUT | POLLRDHUP | POLLHUP);
	close(a);
	/* an error is shown until it is taken */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	EQ(write(p[1], "x", 1), 1);
	close(p[0]);
	EQ(t_poll(p[1], ALL), IN | OUT | POLLRDHUP | POLLHUP | POLLERR);
	EQ(t_getint(p[1], SO_ERROR), ECONNRESET);
	EQ(t_poll(p[1], ALL), IN | OUT | POLLRDHUP | POLLHUP);
	close(p[1]);
	/* datagrams */
	int d = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	EQ(t_poll(d, ALL), OUT);
	OK(shutdown(d, SHUT_RD));
	EQ(t_poll(d, ALL), IN | OUT | POLLRDHUP);
	OK(shutdown(d, SHUT_WR));
	EQ(t_poll(d, ALL), IN | OUT | POLLRDHUP | POLLHUP);
	/* select */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	fd_set rs, ws, es;
	FD_ZERO(&rs);
	FD_SET(p[0], &rs);
	ws = es = rs;
	struct timeval tv = { 0, 0 };
	EQ(select(p[0] + 1, &rs, &ws, &es, &tv), 1);
	CHECK(!FD_ISSET(p[0], &rs) && FD_ISSET(p[0], &ws) && !FD_ISSET(p[0], &es));

	/* sleeping until: data, room, the end, a connection */
	pid_t k;
	struct pollfd f = { p[0], POLLIN, 0 };
	if ((k = OK(fork())) == 0) {
		t_until_asleep(getppid());
		_exit(write(p[1], "x", 1) != 1);
	}
	EQ(poll(&f, 1, 5000), 1);
	EQ(f.revents, POLLIN);
	t_reap(k);
	OK(fcntl(p[1], F_SETFL, O_NONBLOCK));
	while (write(p[1], big, sizeof big) > 0)
		;
	if ((k = OK(fork())) == 0) {
		t_until_asleep(getppid());
		OK(fcntl(p[0], F_SETFL, O_NONBLOCK));
		while (read(p[0], big, 1000) > 0)
			;
		_exit(0);
	}
	f = (struct pollfd){ p[1], POLLOUT, 0 };
	EQ(poll(&f, 1, 5000), 1);
	EQ(f.revents, POLLOUT);
	t_reap(k);
	if ((k = OK(fork())) == 0) {
		t_until_asleep(getppid());
		OK(shutdown(p[1], SHUT_WR));
		_exit(0);
	}
	f = (struct pollfd){ p[0], POLLRDHUP, 0 };
	EQ(poll(&f, 1, 5000), 1);
	EQ(f.revents, POLLRDHUP);
	t_reap(k);
	if ((k = OK(fork())) == 0) {
		t_until_asleep(getppid());
		int t = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		OK(t_connect(t, "@t-poll"));
		_exit(0);
	}
	f = (struct pollfd){ s, POLLIN, 0 };
	EQ(poll(&f, 1, 5000), 1);
	EQ(f.revents, POLLIN);
	t_reap(k);
	/* blocking calls wake as well */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	if ((k = OK(fork())) == 0) {
		close(p[0]);
		t_until_asleep(getppid());
		_exit(write(p[1], "x", 1) != 1); /* and closes */
	}
	close(p[1]);
	EQ(read(p[0], b, 64), 1);
	EQ(read(p[0], b, 64), 0);
	t_reap(k);
	/* a writer that waits while the reader goes away */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	if ((k = OK(fork())) == 0) {
		close(p[0]);
		signal(SIGPIPE, SIG_IGN);
		long sum = 0;
		while ((r = write(p[1], big, sizeof big)) > 0)
			sum += r;
		CHECK(errno == EPIPE || errno == ECONNRESET);
		CHECK(sum > 0 && sum < 10000000);
		_exit(0);
	}
	close(p[1]);
	t_until_asleep(k);
	close(p[0]);
	t_reap(k);
	say("ok");
	return 0;
}
