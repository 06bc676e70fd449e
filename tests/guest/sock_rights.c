// sockets: descriptors in messages: where they go, when they are lost, what stops a read.
#include "sock.h"

static int p[2], n, fl, fds[260];
static char b[256];

/* The next read: this many bytes, this many descriptors. */
static void next(int want, int want_fds)
{
	n = 253;
	EQ(t_recv_fds(p[1], b, 100, fds, &n, 0, &fl), want);
	EQ(n, want_fds);
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

int main(void)
{
	struct stat st, st2;
	int f = OK(open("file", O_RDWR | O_CREAT, 0600)), two[2] = { f, f };
	OK(fstat(f, &st));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	/* the same open file, another number */
	EQ(write(f, "0123456789", 10), 10);
	EQ(t_send_fds(p[0], "x", 1, two, 2, 0), 1);
	n = 2;
	EQ(t_recv_fds(p[1], b, 10, fds, &n, 0, &fl), 1);
	EQ(n, 2);
	EQ(fl, 0);
	OK(fstat(fds[0], &st2));
	CHECK(st.st_ino == st2.st_ino && st.st_dev == st2.st_dev && fds[0] != fds[1]);
	EQ(lseek(fds[1], 0, SEEK_CUR), 10);
	EQ(fcntl(fds[0], F_GETFD), 0);
	OK(lseek(fds[0], 3, SEEK_SET));
	EQ(lseek(f, 0, SEEK_CUR), 3);
	close(fds[0]);
	close(fds[1]);
	/* close-on-exec if asked for */
	EQ(t_send_fds(p[0], "x", 1, &f, 1, 0), 1);
	n = 1;
	EQ(t_recv_fds(p[1], b, 10, fds, &n, MSG_CMSG_CLOEXEC, &fl), 1);
	EQ(fl, MSG_CMSG_CLOEXEC);
	EQ(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	close(fds[0]);
	/* a read goes on into bytes with descriptors, and ends behind them */
	EQ(write(p[0], "abc", 3), 3);
	EQ(t_send_fds(p[0], "de", 2, &f, 1, 0), 2);
	EQ(t_send_fds(p[0], "f", 1, &f, 1, 0), 1);
	EQ(write(p[0], "gh", 2), 2);
	EQ(write(p[0], "i", 1), 1);
	next(5, 1);
	next(1, 1);
	next(3, 0);
	/* the first byte takes them */
	EQ(t_send_fds(p[0], "abc", 3, two, 2, 0), 3);
	EQ(write(p[0], "d", 1), 1);
	n = 9;
	EQ(t_recv_fds(p[1], b, 1, fds, &n, 0, &fl), 1);
	EQ(n, 2);
	close(fds[0]);
	close(fds[1]);
	next(3, 0);
	/* looking gives copies */
	EQ(t_send_fds(p[0], "abc", 3, &f, 1, 0), 3);
	EQ(write(p[0], "d", 1), 1);
	n = 9;
	EQ(t_recv_fds(p[1], b, 9, fds, &n, MSG_PEEK, &fl), 3);
	EQ(n, 1);
	close(fds[0]);
	next(3, 1);
	next(1, 0);
	/* a plain read drops them; so does one without room, and says so */
	int pp[2];
	OK(pipe(pp));
	EQ(t_send_fds(p[0], "x", 1, &pp[1], 1, 0), 1);
	close(pp[1]);
	CHECK(!t_closed(pp[0]));
	EQ(read(p[1], b, 9), 1);
	CHECK(t_closed(pp[0]));
	close(pp[0]);
	EQ(t_send_fds(p[0], "x", 1, two, 2, 0), 1);
	n = 0;
	EQ(t_recv_fds(p[1], b, 9, fds, &n, 0, &fl), 1);
	EQ(fl, MSG_CTRUNC);
	int many[5] = { f, f, f, f, f };
	EQ(t_send_fds(p[0], "x", 1, many, 5, 0), 1);
	n = 2;
	EQ(t_recv_fds(p[1], b, 9, fds, &n, 0, &fl), 1);
	EQ(n, 2);
	EQ(fl, MSG_CTRUNC);
	close(fds[0]);
	close(fds[1]);
	/* without bytes they do not travel on a stream */
	OK(pipe(pp));
	EQ(t_send_fds(p[0], "", 0, &pp[1], 1, 0), 0);
	close(pp[1]);
	CHECK(t_closed(pp[0]));
	close(pp[0]);
	ERR(t_recv_fds(p[1], b, 9, fds, &n, MSG_DONTWAIT, &fl), EAGAIN);
	/* what is refused */
	int bad[2] = { f, 99 };
	ERR(t_send_fds(p[0], "x", 1, bad, 2, 0), EBADF);
	int lots[253];
	for (int i = 0; i < 253; i++)
		lots[i] = f;
	EQ(t_send_fds(p[0], "x", 1, lots, 253, 0), 1);
	next(1, 253);
	char control[CMSG_SPACE(254 * 4)] = { 0 };
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(254 * 4);
	for (int i = 0; i < 254; i++)
		((int *)CMSG_DATA(c))[i] = f;
	ERR(sendmsg(p[0], &m, 0), EINVAL);
	c->cmsg_len = 8;
	ERR(sendmsg(p[0], &m, 0), EINVAL);
	c->cmsg_len = sizeof control + 1;
	ERR(sendmsg(p[0], &m, 0), EINVAL);
	c->cmsg_type = 77;
	c->cmsg_len = CMSG_LEN(4);
	m.msg_controllen = CMSG_SPACE(4);
	ERR(sendmsg(p[0], &m, 0), EINVAL);
	c->cmsg_level = 77;
	EQ(sendmsg(p[0], &m, 0), 1);
	next(1, 0);
	/* O_PATH descriptors travel, too */
	int o = OK(open("/", O_PATH));
	EQ(t_send_fds(p[0], "x", 1, &o, 1, 0), 1);
	n = 1;
	EQ(t_recv_fds(p[1], b, 9, fds, &n, 0, &fl), 1);
	CHECK(fcntl(fds[0], F_GETFL) & O_PATH);
	close(fds[0]);
	/* closed with descriptors unread: they are closed */
	OK(pipe(pp));
	EQ(t_send_fds(p[0], "x", 1, &pp[1], 1, 0), 1);
	close(pp[1]);
	close(p[0]);
	CHECK(!t_closed(pp[0]));
	close(p[1]);
	CHECK(t_closed(pp[0]));
	close(pp[0]);

	/* messages: each has its own, even empty ones */
	for (int type = SOCK_DGRAM; type <= SOCK_SEQPACKET; type += SOCK_SEQPACKET - SOCK_DGRAM) {
		OK(socketpair(AF_UNIX, type, 0, p));
		EQ(t_send_fds(p[0], "ab", 2, two, 2, 0), 2);
		EQ(t_send_fds(p[0], "", 0, &f, 1, 0), 0);
		EQ(write(p[0], "c", 1), 1);
		next(2, 2);
		next(0, 1);
		next(1, 0);
		close(p[0]);
		close(p[1]);
	}

	/* no number free: what fits, and the rest is closed */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	EQ(t_send_fds(p[0], "x", 1, many, 5, 0), 1);
	struct rlimit rl = { 20, 1024 };
	OK(setrlimit(RLIMIT_NOFILE, &rl));
	while (dup(0) >= 0)
		;
	close(18);
	close(19);
	n = 10;
	EQ(t_recv_fds(p[1], b, 9, fds, &n, 0, &fl), 1);
	EQ(n, 2);
	EQ(fl, MSG_CTRUNC);

	/* to another process, over exec's border of memory and tables */
	close(fds[0]);
	close(fds[1]);
	OK(pipe(pp));
	pid_t k = OK(fork());
	if (k == 0) {
		close(pp[0]);
		close(pp[1]);
		n = 1;
		EQ(t_recv_fds(p[1], b, 9, fds, &n, 0, &fl), 4);
		EQ(n, 1);
		EQ(write(fds[0], "from child", 10), 10);
		_exit(0);
	}
	EQ(t_send_fds(p[0], "take", 4, &pp[1], 1, 0), 4);
	close(pp[1]);
	EQ(read(pp[0], b, 64), 10);
	EQ(read(pp[0], b, 64), 0);
	t_reap(k);
	say("ok");
	return 0;
}
