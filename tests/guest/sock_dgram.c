// sockets: datagrams: boundaries, names of senders, connecting, refusals, truncation.
#include "sock.h"

static int to(int s, const char *name, const char *text)
{
	socklen_t l;
	struct sockaddr *a = t_addr(name, &l);
	return sendto(s, text, strlen(text), 0, a, l);
}

int main(void)
{
	char b[256];
	struct sockaddr_un a;
	socklen_t n;
	signal(SIGPIPE, SIG_DFL);
	int s = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), c = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	ERR(send(c, "x", 1, 0), ENOTCONN);
	ERR(write(c, "x", 1), ENOTCONN);
	ERR(recv(c, b, 1, MSG_DONTWAIT), EAGAIN);
	OK(t_bind(s, "srv"));
	ERR(to(c, "none", "x"), ENOENT);
	ERR(to(c, "@t-none", "x"), ECONNREFUSED);
	/* boundaries */
	EQ(to(c, "srv", "one"), 3);
	EQ(to(c, "srv", ""), 0);
	EQ(to(c, "srv", "three"), 5);
	EQ(t_poll(s, POLLIN), POLLIN);
	n = sizeof a;
	EQ(recvfrom(s, b, sizeof b, 0, (void *)&a, &n), 3);
	EQ(n, 0); /* from nobody */
	EQ(recv(s, b, sizeof b, 0), 0);
	EQ(recv(s, b, 2, 0), 2); /* the rest is lost */
	EQ(memcmp(b, "th", 2), 0);
	ERR(recv(s, b, 2, MSG_DONTWAIT), EAGAIN);
	/* truncation is told */
	EQ(to(c, "srv", "abcdef"), 6);
	EQ(recv(s, b, 2, MSG_PEEK), 2);
	EQ(recv(s, b, 2, MSG_PEEK | MSG_TRUNC), 6);
	struct iovec v = { b, 4 };
	struct msghdr m = { .msg_name = &a, .msg_namelen = sizeof a, .msg_iov = &v, .msg_iovlen = 1 };
	EQ(recvmsg(s, &m, 0), 4);
	EQ(m.msg_flags, MSG_TRUNC);
	EQ(m.msg_namelen, 0);
	/* with names */
	OK(t_bind(c, "cli"));
	EQ(to(c, "srv", "q"), 1);
	n = sizeof a;
	EQ(recvfrom(s, b, sizeof b, 0, (void *)&a, &n), 1);
	EQ(strcmp(a.sun_path, "cli"), 0);
	EQ(n, 2 + 4);
	EQ(sendto(s, "answer", 6, 0, (void *)&a, n), 6);
	EQ(recv(c, b, sizeof b, 0), 6);
	/* a read of nothing is nothing, a write of nothing is a message */
	OK(t_connect(c, "srv"));
	EQ(write(c, "", 0), 0);
	EQ(ioctl(s, FIONREAD, &n), 0);
	EQ(n, 0);
	EQ(t_poll(s, POLLIN), POLLIN);
	EQ(read(s, b, 0), 0);
	EQ(t_poll(s, POLLIN), POLLIN);
	EQ(read(s, b, 9), 0);
	EQ(t_poll(s, POLLIN), 0);
	EQ(send(c, "12345", 5, 0), 5);
	EQ(send(c, "12", 2, 0), 2);
	EQ(ioctl(s, FIONREAD, &n), 0);
	EQ(n, 5);
	EQ(ioctl(c, SIOCOUTQ, &n), 0);
	CHECK(n > 0);
	EQ(recv(s, b, 9, 0), 5);
	EQ(recv(s, b, 9, 0), 2);
	EQ(ioctl(c, SIOCOUTQ, &n), 0);
	EQ(n, 0);
	/* who is connected hears only one */
	int o = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	ERR(to(o, "cli", "x"), EPERM);
	ERR(t_connect(o, "cli"), EPERM);
	n = sizeof a;
	OK(getpeername(c, (void *)&a, &n));
	EQ(strcmp(a.sun_path, "srv"), 0);
	/* an address in spite of the connection */
	OK(t_bind(o, "oth"));
	EQ(to(c, "oth", "zz"), 2);
	EQ(recv(o, b, 9, 0), 2);
	/* ending it */
	a.sun_family = AF_UNSPEC;
	OK(connect(c, (void *)&a, 2));
	n = sizeof a;
	ERR(getpeername(c, (void *)&a, &n), ENOTCONN);
	ERR(send(c, "x", 1, 0), ENOTCONN);
	EQ(to(o, "cli", "now"), 3);
	EQ(recv(c, b, 9, 0), 3);
	/* a peer that dies */
	OK(t_connect(c, "srv"));
	close(s);
	ERR(send(c, "x", 1, 0), ECONNREFUSED);
	ERR(send(c, "x", 1, 0), ENOTCONN);
	ERR(to(c, "srv", "x"), ECONNREFUSED);
	/* too long */
	int sz = t_getint(c, SO_SNDBUF);
	char *big = calloc(1, sz + 1);
	socklen_t l;
	struct sockaddr *ad = t_addr("oth", &l);
	ERR(sendto(c, big, sz, 0, ad, l), EMSGSIZE);
	ERR(sendto(c, big, sz - 31, 0, ad, l), EMSGSIZE);
	EQ(sendto(c, big, sz - 32, 0, ad, l), sz - 32);
	EQ(recv(o, big, sz, 0), sz - 32);
	ERR(sendto(c, (void *)8, 4, 0, ad, l), EFAULT);
	/* what shutdown does */
	OK(shutdown(o, SHUT_RD));
	ERR(sendto(c, "x", 1, 0, ad, l), EPIPE); /* and no signal */
	EQ(recv(o, b, 9, 0), 0);
	ERR(recv(o, b, 9, MSG_DONTWAIT), EAGAIN);
	OK(shutdown(c, SHUT_WR));
	ERR(sendto(c, "x", 1, 0, ad, l), EPIPE);
	ad->sa_family = AF_INET;
	ERR(sendto(o, "x", 1, 0, ad, l), EINVAL);

	/* a pair */
	int p[2];
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	EQ(write(p[0], "to", 2), 2);
	EQ(write(p[0], "gether", 6), 6);
	EQ(read(p[1], b, 9), 2);
	EQ(read(p[1], b, 9), 6);
	/* a new connection throws away what the old peer sent, and tells it */
	EQ(write(p[0], "lost", 4), 4);
	ad = t_addr("@t-x", &l);
	ERR(bind(o, ad, l), EINVAL);
	int x = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	OK(bind(x, ad, l));
	OK(connect(p[1], ad, l));
	ERR(recv(p[1], b, 9, MSG_DONTWAIT), EAGAIN);
	EQ(t_getint(p[0], SO_ERROR), ECONNRESET);
	EQ(t_getint(p[1], SO_ERROR), 0);
	/* to itself */
	OK(t_connect(x, "@t-x"));
	EQ(send(x, "me", 2, 0), 2);
	EQ(recv(x, b, 9, 0), 2);
	say("ok");
	return 0;
}
