// dup, dup2, dup3 and F_DUPFD: shared offsets, close-on-exec, limits.
#include "t.h"
int main(void)
{
	int fd = OK(open("a", O_CREAT | O_RDWR, 0600));
	int d = OK(dup(fd));
	EQ(write(fd, "abcdef", 6), 6);
	EQ(lseek(d, 0, SEEK_CUR), 6);
	EQ(dup2(fd, fd), fd);
	ERR(dup2(99, 99), EBADF);
	ERR(dup2(fd, -1), EBADF);
	ERR(dup2(fd, 100000000), EBADF);
	ERR(dup3(fd, fd, 0), EINVAL);
	ERR(dup3(fd, 50, O_APPEND), EINVAL);
	EQ(dup3(fd, 50, O_CLOEXEC), 50);
	EQ(fcntl(50, F_GETFD), FD_CLOEXEC);
	EQ(dup2(50, 51), 51);
	EQ(fcntl(51, F_GETFD), 0);
	EQ(fcntl(fd, F_DUPFD, 40), 40);
	EQ(fcntl(fd, F_DUPFD_CLOEXEC, 40), 41);
	EQ(fcntl(41, F_GETFD), FD_CLOEXEC);
	ERR(fcntl(fd, F_DUPFD, -1), EINVAL);
	ERR(fcntl(fd, F_DUPFD, 1 << 30), EINVAL);
	/* The lowest free number is taken. */
	OK(close(0));
	EQ(dup(fd), 0);
	/* Numbers run out at the limit. */
	struct rlimit rl = { 20, 4096 };
	OK(setrlimit(RLIMIT_NOFILE, &rl));
	int n = 0;
	while (dup(fd) >= 0)
		n++;
	EQ(errno, EMFILE);
	printf("%d descriptors until EMFILE\n", n);
	ERR(dup2(fd, 20), EBADF);
	EQ(lseek(51, 0, SEEK_CUR), 6); /* those above the limit stay usable */
}
