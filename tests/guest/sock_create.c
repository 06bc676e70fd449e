// sockets: families, types, protocols and flags; what a fresh socket looks like.
#include "sock.h"

int main(void)
{
	ERR(socket(0, SOCK_STREAM, 0), EAFNOSUPPORT);
	ERR(socket(45, SOCK_STREAM, 0), EAFNOSUPPORT);
	ERR(socket(46, SOCK_STREAM, 0), EAFNOSUPPORT);
	ERR(socket(-1, SOCK_STREAM, 0), EAFNOSUPPORT);
	ERR(socket(4, SOCK_STREAM, 0), EAFNOSUPPORT);
	ERR(socket(AF_UNIX, 11, 0), EINVAL);
	ERR(socket(4, 11, 0), EINVAL);
	ERR(socket(99, 11, 0), EAFNOSUPPORT);
	ERR(socket(AF_UNIX, 0, 0), ESOCKTNOSUPPORT);
	ERR(socket(AF_UNIX, 4, 0), ESOCKTNOSUPPORT);
	ERR(socket(AF_UNIX, 10, 0), ESOCKTNOSUPPORT);
	ERR(socket(AF_UNIX, SOCK_STREAM, 2), EPROTONOSUPPORT);
	ERR(socket(AF_UNIX, SOCK_STREAM | 0x100, 0), EINVAL);
	int p[2], *bad = (int *)8;
	ERR(socketpair(4, SOCK_STREAM, 0, p), EAFNOSUPPORT);
	ERR(socketpair(AF_UNIX, SOCK_STREAM | 0x100, 0, p), EINVAL);
	ERR(socketpair(AF_UNIX, SOCK_STREAM, 6, p), EPROTONOSUPPORT);
	ERR(socketpair(AF_UNIX, SOCK_STREAM, 0, bad), EFAULT);
	EQ(OK(dup(0)), 3);
	close(3);

	static const int types[][2] = { { SOCK_STREAM, SOCK_STREAM }, { SOCK_DGRAM, SOCK_DGRAM },
					{ SOCK_SEQPACKET, SOCK_SEQPACKET }, { SOCK_RAW, SOCK_DGRAM } };
	for (int i = 0; i < 4; i++) {
		int s = OK(socket(AF_UNIX, types[i][0], i % 2));
		EQ(t_getint(s, SO_TYPE), types[i][1]);
		EQ(t_getint(s, SO_DOMAIN), AF_UNIX);
		EQ(t_getint(s, SO_PROTOCOL), 0);
		EQ(t_getint(s, SO_ERROR), 0);
		EQ(t_getint(s, SO_ACCEPTCONN), 0);
		struct stat st;
		OK(fstat(s, &st));
		CHECK(S_ISSOCK(st.st_mode));
		EQ(st.st_mode & 07777, 0777);
		EQ(st.st_size, 0);
		EQ(st.st_uid, getuid());
		char link[64], want[64], fd[64];
		snprintf(fd, sizeof fd, "/proc/self/fd/%d", s);
		link[OK(readlink(fd, link, sizeof link - 1))] = 0;
		snprintf(want, sizeof want, "socket:[%lu]", (unsigned long)st.st_ino);
		EQ(strcmp(link, want), 0);
		ERR(open(fd, O_RDWR), ENXIO);
		EQ(fcntl(s, F_GETFL), O_RDWR);
		EQ(fcntl(s, F_GETFD), 0);
		ERR(lseek(s, 0, SEEK_SET), ESPIPE);
		char c;
		ERR(pread(s, &c, 1, 0), ESPIPE);
		ERR(ftruncate(s, 0), EINVAL);
		ERR(fsync(s), EINVAL);
		CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, s, 0) == MAP_FAILED && errno == ENODEV);
		ERR(ioctl(s, 0x1234, 0), ENOTTY);
		OK(close(s));
	}
	int s = OK(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	EQ(fcntl(s, F_GETFL), O_RDWR | O_NONBLOCK);
	EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
	int off = 0;
	OK(ioctl(s, FIONBIO, &off));
	EQ(fcntl(s, F_GETFL), O_RDWR);
	OK(close(s));
	OK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p));
	EQ(fcntl(p[1], F_GETFL), O_RDWR | O_NONBLOCK);
	EQ(fcntl(p[0], F_GETFD), FD_CLOEXEC);
	struct stat a, b;
	OK(fstat(p[0], &a));
	OK(fstat(p[1], &b));
	CHECK(a.st_ino != b.st_ino);

	/* what is no socket */
	int n = OK(open("/dev/null", O_RDWR));
	socklen_t l = sizeof a;
	ERR(bind(n, (void *)&a, 4), ENOTSOCK);
	ERR(listen(n, 1), ENOTSOCK);
	ERR(accept(n, NULL, NULL), ENOTSOCK);
	ERR(send(n, "x", 1, 0), ENOTSOCK);
	ERR(recv(n, &a, 1, 0), ENOTSOCK);
	ERR(shutdown(n, 0), ENOTSOCK);
	ERR(getsockopt(n, SOL_SOCKET, SO_TYPE, &a, &l), ENOTSOCK);
	ERR(listen(99, 1), EBADF);
	int path = OK(open("/", O_PATH));
	ERR(listen(path, 1), EBADF);

	/* no numbers left */
	struct rlimit rl = { 10, 10 };
	OK(setrlimit(RLIMIT_NOFILE, &rl));
	while (dup(0) >= 0)
		;
	ERR(socket(AF_UNIX, SOCK_STREAM, 0), EMFILE);
	close(9);
	ERR(socketpair(AF_UNIX, SOCK_STREAM, 0, p), EMFILE);
	EQ(OK(dup(0)), 9);
	say("ok");
	return 0;
}
