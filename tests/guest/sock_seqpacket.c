// sockets: seqpacket: messages over a connection.
#include "sock.h"

int main(void)
{
	char b[256];
	int p[2], n;
	signal(SIGPIPE, SIG_DFL); /* no signal comes */
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p));
	EQ(write(p[0], "one", 3), 3);
	EQ(send(p[0], "second", 6, MSG_EOR), 6);
	EQ(ioctl(p[1], FIONREAD, &n), 0);
	EQ(n, 9);
	EQ(read(p[1], b, 64), 3);
	struct iovec v = { b, 3 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	EQ(recvmsg(p[1], &m, 0), 3);
	EQ(m.msg_flags, MSG_TRUNC);
	EQ(send(p[0], "", 0, 0), 0);
	EQ(recv(p[1], b, 9, 0), 0); /* a message of nothing */
	ERR(recv(p[1], b, 9, MSG_DONTWAIT), EAGAIN);
	/* an address is ignored */
	socklen_t l;
	struct sockaddr *a = t_addr("@t-nobody", &l);
	EQ(sendto(p[0], "x", 1, 0, a, l), 1);
	EQ(recv(p[1], b, 9, 0), 1);
	/* ends */
	EQ(write(p[0], "z", 1), 1);
	OK(shutdown(p[0], SHUT_WR));
	ERR(write(p[0], "z", 1), EPIPE);
	EQ(read(p[1], b, 9), 1);
	EQ(read(p[1], b, 9), 0);
	EQ(recv(p[1], b, 9, MSG_DONTWAIT), 0);
	EQ(t_poll(p[1], POLLIN | POLLRDHUP | POLLOUT), POLLIN | POLLRDHUP | POLLOUT);
	close(p[0]);
	EQ(t_poll(p[1], POLLIN | POLLRDHUP | POLLOUT), POLLIN | POLLRDHUP | POLLOUT | POLLHUP);
	ERR(write(p[1], "z", 1), EPIPE);
	close(p[1]);
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p));
	EQ(write(p[1], "z", 1), 1);
	close(p[0]);
	ERR(read(p[1], b, 9), ECONNRESET);
	EQ(read(p[1], b, 9), 0);
	close(p[1]);
	/* not connected */
	int s = OK(socket(AF_UNIX, SOCK_SEQPACKET, 0));
	ERR(read(s, b, 9), ENOTCONN);
	ERR(write(s, b, 9), ENOTCONN);
	EQ(t_poll(s, POLLIN | POLLOUT), POLLOUT | POLLHUP);
	/* over a name */
	int srv = t_listen(SOCK_SEQPACKET, "srv", 3);
	int t = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(t_connect(t, "srv"), EPROTOTYPE);
	OK(t_connect(s, "srv"));
	int c = OK(accept(srv, NULL, NULL));
	EQ(write(s, "abc", 3), 3);
	EQ(write(s, "de", 2), 2);
	EQ(read(c, b, 9), 3);
	EQ(read(c, b, 9), 2);
	/* the send buffer bounds it; who waits goes on */
	int sz = 0;
	while (send(s, b, 200, MSG_DONTWAIT) == 200)
		sz++;
	EQ(errno, EAGAIN);
	CHECK(sz > 10);
	EQ(t_poll(s, POLLOUT), 0);
	pid_t k = OK(fork());
	if (k == 0) {
		EQ(write(s, "last", 4), 4);
		_exit(0);
	}
	t_until_asleep(k);
	for (int i = 0; i < sz; i++)
		EQ(read(c, b, 256), 200);
	EQ(read(c, b, 256), 4);
	t_reap(k);
	EQ(t_poll(s, POLLOUT), POLLOUT);
	say("ok");
	return 0;
}
