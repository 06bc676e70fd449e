// sockets: descriptors of sockets that are sent into each other's queues are freed when nobody can receive them.
#include "sock.h"

/* Closing any socket may make the kernel look for garbage, which it may do later. */
static void freed(int r)
{
	for (int i = 0; i < 5000 && !t_closed(r); i++) {
		close(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
		t_msleep(1);
	}
	CHECK(t_closed(r));
	close(r);
}

static int pipe_into(int s)
{
	int p[2];
	OK(pipe(p));
	EQ(t_send_fds(s, "p", 1, &p[1], 1, 0), 1);
	close(p[1]);
	return p[0];
}

int main(void)
{
	int a[2], b[2], r, n, fl, fds[4];
	char c[16];
	/* into its own queue */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, a));
	r = pipe_into(a[0]);
	EQ(t_send_fds(a[0], "x", 1, &a[1], 1, 0), 1);
	close(a[1]);
	close(a[0]);
	freed(r);
	/* two into each other's */
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, a));
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, b));
	r = pipe_into(a[0]);
	EQ(t_send_fds(a[0], "x", 1, &b[1], 1, 0), 1);
	EQ(t_send_fds(b[0], "x", 1, &a[1], 1, 0), 1);
	close(a[1]);
	close(b[1]);
	close(a[0]);
	close(b[0]);
	freed(r);
	/* as long as one end can be received from, nothing is lost */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, a));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, b));
	r = pipe_into(a[0]);
	EQ(t_send_fds(b[0], "y", 1, &a[1], 1, 0), 1); /* a[1] lies in b[1]'s queue */
	EQ(t_send_fds(a[0], "x", 1, &a[0], 1, 0), 1);
	close(a[1]);
	close(a[0]);
	for (int i = 0; i < 20; i++)
		close(OK(socket(AF_UNIX, SOCK_STREAM, 0)));
	t_msleep(20);
	CHECK(!t_closed(r));
	n = 1;
	EQ(t_recv_fds(b[1], c, 16, fds, &n, 0, &fl), 1);
	EQ(n, 1);
	int got = fds[0];
	n = 4;
	EQ(t_recv_fds(got, c, 16, fds, &n, 0, &fl), 1);
	EQ(n, 1);
	CHECK(!t_closed(r));
	close(fds[0]);
	freed(r);
	close(got);
	close(b[0]);
	close(b[1]);
	/* a connection that nobody accepted, of a listener that is in flight */
	int l = t_listen(SOCK_STREAM, "srv", 5), cl = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(t_connect(cl, "srv"));
	r = pipe_into(cl);
	EQ(t_send_fds(cl, "l", 1, &l, 1, 0), 1);
	close(l);
	close(cl);
	freed(r);
	/* a long chain: each lies in the queue of the next; freeing it must not recurse (a user may have 1024 in
	   flight altogether, with the other tests) */
	int links = geteuid() == 0 ? 900 : 300;
	int prev = -1;
	r = -1;
	for (int i = 0; i < links; i++) {
		OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, a));
		if (prev < 0)
			r = pipe_into(a[0]);
		else {
			EQ(t_send_fds(a[0], "c", 1, &prev, 1, 0), 1);
			close(prev);
		}
		close(a[0]);
		prev = a[1];
	}
	CHECK(!t_closed(r));
	close(prev);
	freed(r);
	/* a ring of many */
	int ring[40][2];
	for (int i = 0; i < 40; i++)
		OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ring[i]));
	r = pipe_into(ring[7][0]);
	for (int i = 0; i < 40; i++)
		EQ(t_send_fds(ring[i][0], "r", 1, &ring[(i + 1) % 40][1], 1, 0), 1);
	for (int i = 0; i < 40; i++) {
		close(ring[i][0]);
		close(ring[i][1]);
	}
	freed(r);
	say("ok");
	return 0;
}
