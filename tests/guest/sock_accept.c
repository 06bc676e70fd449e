// sockets: listening, the backlog, accepting; credentials and names of both sides.
#include "sock.h"

int main(void)
{
	int l = t_listen(SOCK_STREAM, "srv", 2), c[8];
	struct sockaddr_un a;
	socklen_t n;
	char b[16];
	/* three fit into a backlog of two */
	for (int i = 0; i < 3; i++) {
		c[i] = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
		OK(t_connect(c[i], "srv"));
	}
	c[3] = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
	ERR(t_connect(c[3], "srv"), EAGAIN);
	EQ(t_poll(c[3], POLLOUT | POLLIN), POLLOUT | POLLHUP);
	EQ(t_poll(l, POLLIN | POLLOUT), POLLIN);
	ERR(read(l, b, 1), EINVAL);
	ERR(write(l, b, 1), ENOTCONN);
	ERR(ioctl(l, FIONREAD, &n), EINVAL);
	/* what is connected can be used before it is accepted */
	EQ(write(c[0], "early", 5), 5);
	n = sizeof a;
	OK(getpeername(c[0], (void *)&a, &n));
	EQ(strcmp(a.sun_path, "srv"), 0);
	n = sizeof a;
	int s = OK(accept4(l, (void *)&a, &n, SOCK_CLOEXEC | SOCK_NONBLOCK));
	EQ(n, 2);
	EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
	EQ(fcntl(s, F_GETFL), O_RDWR | O_NONBLOCK);
	EQ(read(s, b, 16), 5);
	n = sizeof a;
	OK(getsockname(s, (void *)&a, &n));
	EQ(strcmp(a.sun_path, "srv"), 0);
	/* now there is room for one */
	OK(t_connect(c[3], "srv"));
	ERR(accept4(l, NULL, NULL, 1), EINVAL);
	for (int i = 0; i < 3; i++)
		close(OK(accept(l, NULL, NULL)));
	OK(fcntl(l, F_SETFL, O_NONBLOCK));
	ERR(accept(l, NULL, NULL), EAGAIN);
	OK(fcntl(l, F_SETFL, 0));
	/* one that goes away before it is accepted is accepted all the same */
	int q = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(t_bind(q, "client"));
	OK(t_connect(q, "srv"));
	EQ(write(q, "bye", 3), 3);
	close(q);
	n = sizeof a;
	s = OK(accept(l, (void *)&a, &n));
	EQ(strcmp(a.sun_path, "client"), 0);
	EQ(read(s, b, 16), 3);
	EQ(read(s, b, 16), 0);
	close(s);
	/* bad places for the address */
	q = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(t_connect(q, "srv"));
	n = sizeof a;
	ERR(accept(l, (void *)8, &n), EFAULT);
	close(q);

	/* blocking both ways */
	pid_t k = OK(fork());
	if (k == 0) {
		t_until_asleep(getppid());
		int t = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		OK(t_connect(t, "srv"));
		EQ(read(t, b, 16), 2);
		_exit(0);
	}
	s = OK(accept(l, NULL, NULL));
	struct ucred u;
	n = sizeof u;
	OK(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &u, &n));
	CHECK(u.pid == k && u.uid == geteuid() && u.gid == getegid());
	EQ(write(s, "hi", 2), 2);
	t_reap(k);
	close(s);
	/* a connect that waits for room */
	OK(listen(l, 0));
	q = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(t_connect(q, "srv"));
	k = OK(fork());
	if (k == 0) {
		int t = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		OK(t_connect(t, "srv"));
		EQ(write(t, "w", 1), 1);
		_exit(0);
	}
	t_until_asleep(k);
	close(OK(accept(l, NULL, NULL)));
	s = OK(accept(l, NULL, NULL));
	EQ(read(s, b, 16), 1);
	t_reap(k);
	close(s);
	close(q);
	/* one that waits in vain: the listener goes */
	q = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(t_connect(q, "srv"));
	k = OK(fork());
	if (k == 0) {
		close(l);
		int t = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		ERR(t_connect(t, "srv"), ECONNREFUSED);
		_exit(0);
	}
	t_until_asleep(k);
	close(l);
	t_reap(k);
	/* and who was in the backlog is reset */
	ERR(read(q, b, 1), ECONNRESET);
	EQ(read(q, b, 1), 0);
	close(q);

	/* a listener that is shut down */
	l = t_listen(SOCK_SEQPACKET, "@t-accept", 5);
	OK(shutdown(l, SHUT_RD));
	ERR(accept(l, NULL, NULL), EINVAL);
	q = OK(socket(AF_UNIX, SOCK_SEQPACKET, 0));
	ERR(t_connect(q, "@t-accept"), ECONNREFUSED);
	close(l);

	/* what cannot listen or accept */
	int d = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	ERR(listen(d, 1), EOPNOTSUPP);
	ERR(accept(d, NULL, NULL), EOPNOTSUPP);
	ERR(accept(q, NULL, NULL), EINVAL);

	/* without a number for it a connection stays in the backlog */
	l = t_listen(SOCK_STREAM, "@t-accept2", 5);
	OK(t_connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), "@t-accept2"));
	struct rlimit rl = { 30, 1024 };
	OK(setrlimit(RLIMIT_NOFILE, &rl));
	while (dup(0) >= 0)
		;
	ERR(accept(l, NULL, NULL), EMFILE);
	close(29);
	EQ(OK(accept(l, NULL, NULL)), 29);
	say("ok");
	return 0;
}
