// sockets: a pair of streams: bytes both ways, ends, errors, SIGPIPE, shutdown.
#include "sock.h"

static volatile int pipes;
static void on_pipe(int s) { (void)s; pipes++; }

int main(void)
{
	int p[2];
	char b[64], *bad = (char *)8;
	t_on(SIGPIPE, on_pipe, SA_RESTART);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	EQ(write(p[0], "hello", 5), 5);
	EQ(send(p[0], " world", 6, 0), 6);
	EQ(read(p[1], b, sizeof b), 11);
	EQ(memcmp(b, "hello world", 11), 0);
	EQ(write(p[1], "back", 4), 4);
	EQ(read(p[0], b, 2), 2);
	EQ(recv(p[0], b + 2, 62, 0), 2);
	EQ(memcmp(b, "back", 4), 0);
	/* vectors, empty ones too */
	struct iovec v[3] = { { "ab", 2 }, { NULL, 0 }, { "cde", 3 } };
	EQ(writev(p[0], v, 3), 5);
	struct iovec r[2] = { { b, 1 }, { b + 10, 20 } };
	EQ(readv(p[1], r, 2), 5);
	CHECK(b[0] == 'a' && !memcmp(b + 10, "bcde", 4));
	/* nothing */
	EQ(write(p[0], NULL, 0), 0);
	EQ(send(p[0], NULL, 0, 0), 0);
	EQ(read(p[1], NULL, 0), 0);
	ERR(recv(p[1], b, 1, MSG_DONTWAIT), EAGAIN);
	ERR(recv(p[1], b, 1, MSG_DONTWAIT | MSG_PEEK), EAGAIN);
	ERR(recv(p[1], b, 0, MSG_DONTWAIT), EAGAIN);
	/* addresses of what has none */
	struct sockaddr_un a;
	socklen_t l = sizeof a;
	OK(getsockname(p[0], (void *)&a, &l));
	CHECK(l == 2 && a.sun_family == AF_UNIX);
	l = sizeof a;
	OK(getpeername(p[0], (void *)&a, &l));
	CHECK(l == 2 && a.sun_family == AF_UNIX);
	EQ(write(p[0], "x", 1), 1);
	EQ(recv(p[1], b, 0, 0), 0);
	l = sizeof a;
	EQ(recvfrom(p[1], b, 1, 0, (void *)&a, &l), 1);
	EQ(l, 0);
	/* a stream that is connected takes no address */
	ERR(sendto(p[0], "x", 1, 0, t_addr("@nobody", &l), 9), EISCONN);
	ERR(t_connect(p[0], "@nobody"), ECONNREFUSED);
	ERR(listen(p[0], 1), EINVAL);
	ERR(accept(p[0], NULL, NULL), EINVAL);
	/* bad memory */
	ERR(write(p[0], bad, 4), EFAULT);
	EQ(write(p[0], "data", 4), 4);
	ERR(read(p[1], bad, 4), EFAULT);
	EQ(read(p[1], b, 9), 4);

	/* half closed */
	EQ(write(p[0], "last", 4), 4);
	OK(shutdown(p[0], SHUT_WR));
	ERR(write(p[0], "x", 1), EPIPE);
	EQ(pipes, 1);
	ERR(send(p[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(pipes, 1);
	EQ(read(p[1], b, 64), 4);
	EQ(read(p[1], b, 64), 0);
	EQ(recv(p[1], b, 64, MSG_DONTWAIT), 0);
	EQ(write(p[1], "still", 5), 5);
	EQ(read(p[0], b, 64), 5);
	OK(shutdown(p[1], SHUT_RD));
	OK(shutdown(p[1], SHUT_RD));
	ERR(shutdown(p[1], 3), EINVAL);
	ERR(shutdown(p[1], -1), EINVAL);
	close(p[0]);
	close(p[1]);

	/* reading shut: the peer cannot write, what is there is still read */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	EQ(write(p[0], "abc", 3), 3);
	OK(shutdown(p[1], SHUT_RD));
	EQ(read(p[1], b, 64), 3);
	EQ(read(p[1], b, 64), 0);
	ERR(write(p[0], "x", 1), EPIPE);
	EQ(pipes, 2);
	EQ(write(p[1], "y", 1), 1);
	EQ(read(p[0], b, 64), 1);
	close(p[0]);
	close(p[1]);

	/* closed with nothing unread: end; with something unread: reset, once */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	EQ(write(p[0], "abc", 3), 3);
	close(p[0]);
	ERR(send(p[1], "x", 1, MSG_NOSIGNAL), EPIPE);
	EQ(read(p[1], b, 64), 3);
	EQ(read(p[1], b, 64), 0);
	close(p[1]);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	EQ(write(p[0], "abc", 3), 3);
	EQ(write(p[1], "def", 3), 3);
	close(p[0]);
	EQ(read(p[1], b, 64), 3);
	ERR(read(p[1], b, 64), ECONNRESET);
	EQ(read(p[1], b, 64), 0);
	close(p[1]);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	EQ(write(p[1], "def", 3), 3);
	close(p[0]);
	EQ(t_getint(p[1], SO_ERROR), ECONNRESET);
	EQ(t_getint(p[1], SO_ERROR), 0);
	EQ(read(p[1], b, 64), 0);
	close(p[1]);

	/* a socket that is not connected */
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(read(s, b, 1), EINVAL);
	ERR(write(s, b, 1), ENOTCONN);
	ERR(recv(s, b, 1, 0), EINVAL);
	ERR(sendto(s, b, 1, 0, t_addr("@nobody", &l), 9), EOPNOTSUPP);
	l = sizeof a;
	ERR(getpeername(s, (void *)&a, &l), ENOTCONN);
	EQ(pipes, 2);
	OK(shutdown(s, SHUT_RDWR));
	say("ok");
	return 0;
}
