// needs: root, or natively it would use up what other tests of the same user may have in flight
// seconds: 60
// sockets: a program that takes all it can get: errors, no panic, and everything is given back.
#include "sock.h"

static void hog(void)
{
	static char big[1 << 20];
	struct rlimit rl = { 4096, 4096 };
	setrlimit(RLIMIT_NOFILE, &rl);
	int p[2];
	/* pairs with full buffers */
	int pairs = 0;
	while (pairs < 300 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p) == 0) {
		while (write(p[0], big, sizeof big) > 0)
			;
		CHECK(errno == EAGAIN || errno == ENOBUFS);
		pairs++;
	}
	CHECK(pairs > 200);
	/* messages, with descriptors of themselves */
	for (int i = 0; i < 100; i++) {
		if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, p))
			break;
		while (t_send_fds(p[0], big, 20000, p, 2, 0) > 0)
			;
	}
	/* connections that nobody accepts */
	int l = t_listen(SOCK_STREAM, "@t-hog", 4096), n = 0;
	for (; n < 5000; n++) {
		int c = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (c < 0)
			break;
		if (t_connect(c, "@t-hog")) {
			CHECK(errno == EAGAIN || errno == ENFILE);
			break;
		}
		close(c);
	}
	CHECK(n > 100);
	(void)l;
}

int main(void)
{
	for (int i = 0; i < 3; i++)
		IN_CHILD(hog());
	/* all is well again */
	static char big[200000], back[200000];
	int p[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p));
	CHECK(write(p[0], big, sizeof big) > 50000);
	CHECK(read(p[1], back, sizeof back) > 50000);
	/* the smallest messages and pieces are bounded, too */
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, p));
	int n = 0;
	while (send(p[0], "", 0, 0) == 0)
		CHECK(++n < 100000);
	EQ(errno, EAGAIN);
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p));
	n = 0;
	while (t_send_fds(p[0], "x", 1, p, 1, 0) == 1)
		CHECK(++n < 100000);
	CHECK(errno == EAGAIN || errno == ETOOMANYREFS);
	say("ok");
	return 0;
}
