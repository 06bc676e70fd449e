// sockets: options: what can be read, set, doubled and bounded, and what is unknown.
#include "sock.h"

int main(void)
{
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0)), v;
	socklen_t l;
	char big[64];
	memset(big, 0x55, sizeof big);
	/* unknown ones, other levels */
	v = 1;
	l = sizeof v;
	ERR(getsockopt(s, SOL_SOCKET, 9999, &v, &l), ENOPROTOOPT);
	ERR(setsockopt(s, SOL_SOCKET, 9999, &v, sizeof v), ENOPROTOOPT);
	ERR(setsockopt(s, SOL_SOCKET, SO_TYPE, &v, sizeof v), ENOPROTOOPT);
	ERR(setsockopt(s, SOL_SOCKET, SO_ERROR, &v, sizeof v), ENOPROTOOPT);
	ERR(setsockopt(s, SOL_SOCKET, SO_ACCEPTCONN, &v, sizeof v), ENOPROTOOPT);
	ERR(setsockopt(s, SOL_SOCKET, SO_PEERCRED, &v, sizeof v), ENOPROTOOPT);
	ERR(getsockopt(s, SOL_SOCKET, SO_SNDBUFFORCE, &v, &l), ENOPROTOOPT);
	ERR(getsockopt(s, SOL_SOCKET, SO_PEERSEC, &v, &l), ENOPROTOOPT);
	ERR(getsockopt(s, 6, 1, &v, &l), EOPNOTSUPP);
	ERR(setsockopt(s, 6, 1, &v, sizeof v), EOPNOTSUPP);
	ERR(setsockopt(s, 0, 1, &v, sizeof v), EOPNOTSUPP);
	/* lengths */
	ERR(setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &v, 3), EINVAL);
	ERR(setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &v, -1), EINVAL);
	l = -1;
	ERR(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, &l), EINVAL);
	l = 64;
	OK(getsockopt(s, SOL_SOCKET, SO_TYPE, big, &l));
	EQ(l, 4);
	l = 2;
	memset(big, 0x55, sizeof big);
	OK(getsockopt(s, SOL_SOCKET, SO_TYPE, big, &l));
	CHECK(l == 2 && big[0] == 1 && big[1] == 0 && big[2] == 0x55);
	l = 0;
	OK(getsockopt(s, SOL_SOCKET, SO_TYPE, big, &l));
	EQ(l, 0);
	int *bad = (int *)8;
	ERR(setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, bad, 4), EFAULT);
	l = 4;
	ERR(getsockopt(s, SOL_SOCKET, SO_TYPE, bad, &l), EFAULT);
	ERR(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, (socklen_t *)bad), EFAULT);
	/* on and off: any number is on */
	static const int sw[] = { SO_REUSEADDR, SO_KEEPALIVE, SO_BROADCAST, SO_OOBINLINE, SO_DONTROUTE, SO_PASSCRED, SO_PASSSEC, SO_TIMESTAMP };
	for (unsigned i = 0; i < sizeof sw / sizeof *sw; i++) {
		EQ(t_getint(s, sw[i]), 0);
		t_setint(s, sw[i], 7);
		EQ(t_getint(s, sw[i]), 1);
		t_setint(s, sw[i], 0);
		EQ(t_getint(s, sw[i]), 0);
	}
	/* buffers are doubled, and bounded below and above */
	EQ(t_getint(s, SO_SNDBUF), 212992);
	EQ(t_getint(s, SO_RCVBUF), 212992);
	t_setint(s, SO_SNDBUF, 10000);
	EQ(t_getint(s, SO_SNDBUF), 20000);
	t_setint(s, SO_RCVBUF, 30000);
	EQ(t_getint(s, SO_RCVBUF), 60000);
	t_setint(s, SO_SNDBUF, 1);
	EQ(t_getint(s, SO_SNDBUF), 4608);
	t_setint(s, SO_RCVBUF, 0);
	EQ(t_getint(s, SO_RCVBUF), 2304);
	t_setint(s, SO_SNDBUF, -1);
	CHECK(t_getint(s, SO_SNDBUF) >= 2 * 212992);
	t_setint(s, SO_SNDBUF, 0x7fffffff);
	FILE *f = fopen("/proc/sys/net/core/wmem_max", "r");
	if (f) {
		CHECK(fscanf(f, "%d", &v) == 1);
		EQ(t_getint(s, SO_SNDBUF), 2 * v);
		fclose(f);
	}
	/* low water marks */
	EQ(t_getint(s, SO_RCVLOWAT), 1);
	t_setint(s, SO_RCVLOWAT, 0);
	EQ(t_getint(s, SO_RCVLOWAT), 1);
	t_setint(s, SO_RCVLOWAT, -5);
	EQ(t_getint(s, SO_RCVLOWAT), 0x7fffffff);
	EQ(t_getint(s, SO_SNDLOWAT), 1);
	ERR(setsockopt(s, SOL_SOCKET, SO_SNDLOWAT, &v, sizeof v), ENOPROTOOPT);
	/* lingering */
	struct linger lg = { 5, 10 };
	OK(setsockopt(s, SOL_SOCKET, SO_LINGER, &lg, sizeof lg));
	l = sizeof lg;
	OK(getsockopt(s, SOL_SOCKET, SO_LINGER, &lg, &l));
	CHECK(lg.l_onoff == 1 && lg.l_linger == 10 && l == sizeof lg);
	ERR(setsockopt(s, SOL_SOCKET, SO_LINGER, &lg, 4), EINVAL);
	/* time-outs */
	struct timeval tv = { 2, 500000 };
	OK(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	tv.tv_usec = 1000000;
	ERR(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv), EDOM);
	tv.tv_usec = -1;
	ERR(setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv), EDOM);
	ERR(setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, 8), EINVAL);
	l = sizeof tv;
	OK(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, &l));
	CHECK(tv.tv_sec == 2 && tv.tv_usec == 500000 && l == sizeof tv);
	OK(getsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, &l));
	CHECK(tv.tv_sec == 0 && tv.tv_usec == 0);
	/* priority */
	t_setint(s, SO_PRIORITY, 3);
	EQ(t_getint(s, SO_PRIORITY), 3);
	/* a small send buffer bounds a stream */
	int p[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p));
	t_setint(p[0], SO_SNDBUF, 5000);
	static char data[100000];
	ssize_t n = write(p[0], data, sizeof data);
	CHECK(n > 1000 && n < 60000);
	ERR(write(p[0], data, sizeof data), EAGAIN);
	EQ(ioctl(p[1], FIONREAD, &v), 0);
	EQ(v, n);
	EQ(ioctl(p[0], SIOCOUTQ, &v), 0);
	CHECK(v >= n);
	EQ(ioctl(p[0], SIOCINQ, &v), 0);
	EQ(v, 0);
	EQ(read(p[1], data, sizeof data), n);
	EQ(ioctl(p[0], SIOCOUTQ, &v), 0);
	EQ(v, 0);
	/* stamps of messages */
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	t_setint(p[1], SO_TIMESTAMP, 1);
	EQ(write(p[0], "t", 1), 1);
	char control[128];
	struct iovec iov = { big, 9 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	EQ(recvmsg(p[1], &m, 0), 1);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	CHECK(c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMP && c->cmsg_len == CMSG_LEN(sizeof tv));
	memcpy(&tv, CMSG_DATA(c), sizeof tv);
	struct timeval now;
	gettimeofday(&now, NULL);
	CHECK(now.tv_sec - tv.tv_sec <= 2 && tv.tv_usec < 1000000);
	say("ok");
	return 0;
}
