// sockets: names: paths, abstract ones, chosen ones; what bind and connect refuse.
#include "sock.h"

static int mk(int type) { return OK(socket(AF_UNIX, type, 0)); }

int main(void)
{
	struct sockaddr_un a, q;
	socklen_t l;
	struct stat st;
	int s = mk(SOCK_STREAM);
	/* addresses that are none */
	memset(&a, 0, sizeof a);
	a.sun_family = AF_UNIX;
	strcpy(a.sun_path, "x");
	ERR(bind(s, (void *)&a, 1), EINVAL);
	ERR(bind(s, (void *)&a, 111), EINVAL);
	ERR(bind(s, (void *)&a, -1), EINVAL);
	ERR(bind(s, (void *)&a, 200), EINVAL);
	ERR(bind(s, (void *)8, 10), EFAULT);
	a.sun_family = AF_INET;
	ERR(bind(s, (void *)&a, 10), EINVAL);
	ERR(connect(s, (void *)&a, 10), EINVAL);
	a.sun_family = AF_UNIX;
	ERR(connect(s, (void *)&a, 2), EINVAL);
	ERR(listen(s, 1), EINVAL);

	/* a path: the inode, its mode */
	umask(027);
	OK(t_bind(s, "one"));
	OK(lstat("one", &st));
	CHECK(S_ISSOCK(st.st_mode));
	EQ(st.st_mode & 07777, 0750);
	EQ(st.st_uid, geteuid());
	ERR(t_bind(s, "two"), EINVAL);
	ERR(lstat("two", &st), ENOENT);
	ERR(t_bind(s, "one"), EADDRINUSE);
	int t = mk(SOCK_STREAM);
	ERR(t_bind(t, "one"), EADDRINUSE);
	ERR(t_bind(t, "no/where"), ENOENT);
	t_write("file", "");
	ERR(t_bind(t, "file"), EADDRINUSE);
	ERR(t_bind(t, "file/x"), ENOTDIR);
	ERR(t_bind(t, "/proc"), EADDRINUSE);
	l = sizeof q;
	OK(getsockname(s, (void *)&q, &l));
	EQ(l, 2 + 4);
	EQ(strcmp(q.sun_path, "one"), 0);
	/* the buffer may be shorter than the name */
	memset(&q, 0x55, sizeof q);
	l = 4;
	OK(getsockname(s, (void *)&q, &l));
	EQ(l, 6);
	CHECK(q.sun_path[1] == 'n' && q.sun_path[2] == 0x55);
	l = -1;
	ERR(getsockname(s, (void *)&q, &l), EINVAL);

	/* opened by name it is no file */
	ERR(open("one", O_RDWR), ENXIO);
	ERR(open("one", O_WRONLY | O_CREAT, 0666), ENXIO);
	int path = OK(open("one", O_PATH));
	OK(fstat(path, &st));
	CHECK(S_ISSOCK(st.st_mode));
	/* the mode of the socket itself is taken */
	umask(0);
	OK(fchmod(t, 0612));
	OK(t_bind(t, "mode"));
	OK(lstat("mode", &st));
	EQ(st.st_mode & 07777, 0612);
	close(t);

	/* who connects */
	t = mk(SOCK_STREAM);
	ERR(t_connect(t, "one"), ECONNREFUSED); /* does not listen */
	ERR(t_connect(t, "none"), ENOENT);
	ERR(t_connect(t, "file"), ECONNREFUSED);
	ERR(t_connect(t, "mode"), ECONNREFUSED); /* stale */
	int d = mk(SOCK_DGRAM);
	ERR(t_connect(d, "one"), EPROTOTYPE);
	OK(listen(s, 5));
	EQ(t_getint(s, SO_ACCEPTCONN), 1);
	OK(t_connect(t, "one"));
	ERR(t_connect(t, "one"), EISCONN);
	ERR(t_connect(s, "one"), EINVAL);
	/* through a link, by another name, through /proc */
	OK(symlink("one", "sym"));
	OK(link("one", "hard"));
	close(t);
	t = mk(SOCK_STREAM);
	OK(t_connect(t, "sym"));
	close(t);
	OK(rename("one", "moved"));
	t = mk(SOCK_STREAM);
	OK(t_connect(t, "hard"));
	l = sizeof q;
	OK(getpeername(t, (void *)&q, &l));
	EQ(strcmp(q.sun_path, "one"), 0);
	close(t);
	char fd[64];
	snprintf(fd, sizeof fd, "/proc/self/fd/%d", path);
	t = mk(SOCK_STREAM);
	OK(t_connect(t, fd));
	close(t);
	/* without a name it cannot be found, but what knows it goes on */
	OK(unlink("moved"));
	OK(unlink("hard"));
	t = mk(SOCK_STREAM);
	ERR(t_connect(t, "moved"), ENOENT);
	OK(t_connect(t, fd));
	close(t);
	int s2 = mk(SOCK_STREAM);
	OK(t_bind(s2, "moved"));
	close(s2);
	t = mk(SOCK_STREAM);
	ERR(t_connect(t, "moved"), ECONNREFUSED);
	close(s);
	close(path);

	/* longest path, without NUL */
	s = mk(SOCK_DGRAM);
	memset(a.sun_path, 'p', sizeof a.sun_path);
	OK(bind(s, (void *)&a, sizeof a));
	struct { struct sockaddr_un u; char more[20]; } big;
	memset(&big, 0x55, sizeof big);
	l = sizeof big;
	OK(getsockname(s, (void *)&big, &l));
	EQ(l, 111);
	EQ(big.more[0], 0);
	close(s);

	/* abstract names: bytes, a space for each type, gone with the socket */
	s = mk(SOCK_STREAM);
	memset(&a, 0, sizeof a);
	a.sun_family = AF_UNIX;
	memcpy(a.sun_path, "\0t-sock\0tail", 12);
	OK(bind(s, (void *)&a, 2 + 12));
	l = sizeof q;
	OK(getsockname(s, (void *)&q, &l));
	EQ(l, 14);
	EQ(memcmp(q.sun_path, "\0t-sock\0tail", 12), 0);
	s2 = mk(SOCK_STREAM);
	ERR(bind(s2, (void *)&a, 14), EADDRINUSE);
	OK(bind(s2, (void *)&a, 15));
	d = mk(SOCK_DGRAM);
	OK(bind(d, (void *)&a, 14));
	ERR(bind(d, (void *)&a, 13), EINVAL);
	OK(listen(s, 1));
	t = mk(SOCK_STREAM);
	ERR(connect(t, (void *)&a, 13), ECONNREFUSED);
	OK(connect(t, (void *)&a, 14));
	close(s);
	s = mk(SOCK_STREAM);
	OK(bind(s, (void *)&a, 14));
	close(s);
	close(t);

	/* a name that the kernel chooses */
	s = mk(SOCK_DGRAM);
	OK(bind(s, (void *)&a, 2));
	l = sizeof q;
	OK(getsockname(s, (void *)&q, &l));
	EQ(l, 8);
	EQ(q.sun_path[0], 0);
	for (int i = 1; i < 6; i++)
		CHECK(strchr("0123456789abcdef", q.sun_path[i]));
	OK(bind(s, (void *)&a, 2)); /* has one: nothing to do */
	say("ok");
	return 0;
}
