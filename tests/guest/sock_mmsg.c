// sockets: sendmmsg and recvmmsg; msghdr's fields and what is wrong with them.
#include "sock.h"

int main(void)
{
	int p[2];
	char b[8][16];
	struct iovec v[8];
	struct mmsghdr m[8];
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, p));
	memset(m, 0, sizeof m);
	static const char *texts[] = { "a", "bb", "ccc", "", "eeeee" };
	for (int i = 0; i < 5; i++) {
		v[i] = (struct iovec){ (void *)texts[i], strlen(texts[i]) };
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	EQ(sendmmsg(p[0], m, 5, 0), 5);
	for (int i = 0; i < 5; i++)
		EQ(m[i].msg_len, strlen(texts[i]));
	EQ(sendmmsg(p[0], m, 0, 0), 0);
	for (int i = 0; i < 8; i++) {
		v[i] = (struct iovec){ b[i], 4 };
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	EQ(recvmmsg(p[1], m, 2, 0, NULL), 2);
	CHECK(m[0].msg_len == 1 && m[1].msg_len == 2 && !memcmp(b[1], "bb", 2));
	EQ(recvmmsg(p[1], m, 8, MSG_WAITFORONE, NULL), 3);
	CHECK(m[0].msg_len == 3 && m[1].msg_len == 0 && m[2].msg_len == 4);
	EQ(m[0].msg_hdr.msg_flags, 0);
	EQ(m[2].msg_hdr.msg_flags, MSG_TRUNC);
	ERR(recvmmsg(p[1], m, 8, MSG_DONTWAIT, NULL), EAGAIN);
	/* a time-out is looked at after each message */
	EQ(write(p[0], "t", 1), 1);
	struct timespec ts = { 0, 0 };
	EQ(recvmmsg(p[1], m, 8, 0, &ts), 1);
	ts.tv_nsec = 1000000000;
	ERR(recvmmsg(p[1], m, 8, 0, &ts), EINVAL);
	/* an error after the first is not told */
	m[1].msg_hdr.msg_iov = (struct iovec *)8;
	EQ(sendmmsg(p[0], m, 3, 0), 1);
	EQ(recv(p[1], b, 16, 0), 4);
	ERR(sendmmsg(p[0], m + 1, 1, 0), EFAULT);
	/* one msghdr */
	struct msghdr h = { .msg_iov = v, .msg_iovlen = 1025 };
	ERR(sendmsg(p[0], &h, 0), EMSGSIZE);
	ERR(recvmsg(p[1], &h, 0), EMSGSIZE);
	struct msghdr *nowhere = (struct msghdr *)8;
	ERR(sendmsg(p[0], nowhere, 0), EFAULT);
	ERR(recvmsg(p[1], nowhere, 0), EFAULT);
	h.msg_iovlen = 0;
	EQ(sendmsg(p[0], &h, 0), 0);
	h.msg_iovlen = 1;
	h.msg_namelen = -1;
	h.msg_name = b;
	ERR(sendmsg(p[0], &h, 0), EINVAL);
	ERR(recvmsg(p[1], &h, 0), EINVAL);
	h.msg_name = NULL; /* then its length is of no interest */
	h.msg_namelen = 77;
	EQ(recvmsg(p[1], &h, 0), 0);
	EQ(h.msg_controllen, 0);
	ERR(sendmsg(p[0], &h, 0x80000000), EINVAL);
	v[0].iov_len = -1;
	ERR(sendmsg(p[0], &h, 0), EINVAL);
	/* gathered and scattered */
	v[0] = (struct iovec){ "one ", 4 };
	v[1] = (struct iovec){ "two", 3 };
	h.msg_iovlen = 2;
	EQ(sendmsg(p[0], &h, 0), 7);
	v[0] = (struct iovec){ b[0], 2 };
	v[1] = (struct iovec){ b[1], 9 };
	EQ(recvmsg(p[1], &h, 0), 7);
	CHECK(!memcmp(b[0], "on", 2) && !memcmp(b[1], "e two", 5));
	/* what is sent stays on the other side of a failed copy */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	EQ(write(p[0], "keep", 4), 4);
	v[0] = (struct iovec){ (void *)8, 9 };
	h.msg_iovlen = 1;
	ERR(recvmsg(p[1], &h, 0), EFAULT);
	EQ(read(p[1], b, 9), 4);
	say("ok");
	return 0;
}
