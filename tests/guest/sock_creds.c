// needs: root
// sockets: credentials in messages and of peers.
#include "sock.h"
#include <grp.h>

static int send_creds(int s, const char *text, pid_t pid, uid_t uid, gid_t gid)
{
	char control[CMSG_SPACE(sizeof(struct ucred))] = { 0 };
	struct iovec v = { (void *)text, strlen(text) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_CREDENTIALS;
	c->cmsg_len = CMSG_LEN(sizeof(struct ucred));
	*(struct ucred *)CMSG_DATA(c) = (struct ucred){ pid, uid, gid };
	return sendmsg(s, &m, 0);
}

static struct ucred got;
static int have, flags;

static int recv_creds(int s, int room)
{
	static char b[64], control[256];
	struct iovec v = { b, sizeof b };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room };
	int r = recvmsg(s, &m, 0);
	have = 0;
	flags = m.msg_flags;
	for (struct cmsghdr *c = r < 0 ? NULL : CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&got, CMSG_DATA(c), sizeof got);
			have = c->cmsg_len;
		}
	return r;
}

static int is(pid_t pid, unsigned uid, unsigned gid) { return have == CMSG_LEN(12) && got.pid == pid && got.uid == uid && got.gid == gid; }

int main(void)
{
	int p[2];
	pid_t me = getpid();
	struct ucred u;
	socklen_t l;
	for (int type = SOCK_STREAM; type <= SOCK_SEQPACKET; type++) {
		if (type == SOCK_RAW || type == SOCK_RDM)
			continue;
		OK(socketpair(AF_UNIX, type, 0, p));
		l = sizeof u;
		OK(getsockopt(p[0], SOL_SOCKET, SO_PEERCRED, &u, &l));
		CHECK(u.pid == me && u.uid == 0 && u.gid == 0 && l == sizeof u);
		EQ(t_getint(p[1], SO_PASSCRED), 0);
		/* who does not ask is not told, whatever was sent */
		EQ(send_creds(p[0], "x", me, 0, 0), 1);
		EQ(recv_creds(p[1], 256), 1);
		EQ(have, 0);
		/* sent before anybody asked: nobody */
		EQ(write(p[0], "old", 3), 3);
		t_setint(p[1], SO_PASSCRED, 1);
		EQ(t_getint(p[1], SO_PASSCRED), 1);
		EQ(recv_creds(p[1], 256), 3);
		CHECK(is(0, 65534, 65534));
		EQ(write(p[0], "new", 3), 3);
		EQ(recv_creds(p[1], 256), 3);
		CHECK(is(me, 0, 0));
		/* root may say what it likes, but not lie about what there is not */
		EQ(send_creds(p[0], "as", getppid(), 77, 88), 2);
		EQ(recv_creds(p[1], 256), 2);
		CHECK(is(getppid(), 77, 88));
		ERR(send_creds(p[0], "x", 4194303, 0, 0), ESRCH);
		/* no room */
		EQ(write(p[0], "y", 1), 1);
		EQ(recv_creds(p[1], 0), 1);
		EQ(flags, MSG_CTRUNC);
		EQ(write(p[0], "y", 1), 1);
		EQ(recv_creds(p[1], 20), 1);
		EQ(flags, MSG_CTRUNC);
		EQ(have, 20);
		/* the sender asks: that is told, too */
		t_setint(p[1], SO_PASSCRED, 0);
		t_setint(p[0], SO_PASSCRED, 1);
		EQ(write(p[0], "z", 1), 1);
		t_setint(p[1], SO_PASSCRED, 1);
		EQ(recv_creds(p[1], 256), 1);
		CHECK(is(me, 0, 0));
		/* bytes of different senders do not come in one read */
		if (type == SOCK_STREAM) {
			EQ(write(p[0], "aa", 2), 2);
			EQ(write(p[0], "bb", 2), 2);
			pid_t k = OK(fork());
			if (k == 0)
				_exit(write(p[0], "cc", 2) != 2);
			t_reap(k);
			EQ(send_creds(p[0], "dd", me, 1, 0), 2);
			EQ(send_creds(p[0], "ee", me, 1, 0), 2);
			EQ(recv_creds(p[1], 256), 4);
			CHECK(is(me, 0, 0));
			EQ(recv_creds(p[1], 256), 2);
			CHECK(is(k, 0, 0));
			EQ(recv_creds(p[1], 256), 4);
			CHECK(is(me, 1, 0));
		}
		/* others may say only what they are */
		pid_t k = OK(fork());
		if (k == 0) {
			OK(setresgid(10, 11, 12));
			OK(setresuid(20, 21, 22));
			me = getpid();
			ERR(send_creds(p[0], "x", me, 0, 10), EPERM);
			ERR(send_creds(p[0], "x", me, 20, 0), EPERM);
			ERR(send_creds(p[0], "x", getppid(), 20, 10), EPERM);
			EQ(send_creds(p[0], "x", me, 22, 11), 1);
			EQ(write(p[0], "x", 1), 1);
			/* SO_PEERCRED shows effective ids, of the moment of the connection */
			int q[2];
			OK(socketpair(AF_UNIX, type, 0, q));
			OK(setresuid(-1, 22, -1));
			l = sizeof u;
			OK(getsockopt(q[0], SOL_SOCKET, SO_PEERCRED, &u, &l));
			CHECK(u.pid == me && u.uid == 21 && u.gid == 11);
			_exit(0);
		}
		t_reap(k);
		EQ(recv_creds(p[1], 256), 1);
		CHECK(is(k, 22, 11));
		EQ(recv_creds(p[1], 256), 1);
		CHECK(is(k, 20, 10));
		close(p[0]);
		close(p[1]);
	}
	/* not connected: nobody */
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	l = sizeof u;
	OK(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &u, &l));
	CHECK(u.pid == 0 && u.uid == -1u && u.gid == -1u);
	gid_t g[8];
	l = sizeof g;
	ERR(getsockopt(s, SOL_SOCKET, SO_PEERGROUPS, g, &l), ENODATA);
	/* the groups of a peer */
	gid_t mine[3] = { 5, 7, 9 };
	OK(setgroups(3, mine));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	l = 8;
	ERR(getsockopt(p[0], SOL_SOCKET, SO_PEERGROUPS, g, &l), ERANGE);
	EQ(l, 12);
	l = sizeof g;
	OK(getsockopt(p[0], SOL_SOCKET, SO_PEERGROUPS, g, &l));
	CHECK(l == 12 && g[0] == 5 && g[1] == 7 && g[2] == 9);
	/* asking gives a name to what has none when it connects */
	struct sockaddr_un a;
	int srv = t_listen(SOCK_STREAM, "@t-creds", 3);
	t_setint(srv, SO_PASSCRED, 1);
	t_setint(s, SO_PASSCRED, 1);
	OK(t_connect(s, "@t-creds"));
	l = sizeof a;
	OK(getsockname(s, (void *)&a, &l));
	EQ(l, 8);
	/* and what is accepted asks as its listener does */
	EQ(write(s, "q", 1), 1);
	int c = OK(accept(srv, NULL, NULL));
	EQ(t_getint(c, SO_PASSCRED), 1);
	EQ(recv_creds(c, 256), 1);
	CHECK(is(getpid(), 0, 0));
	say("ok");
	return 0;
}
