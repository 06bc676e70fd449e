// fcntl byte-range locks: conflicts, splitting, F_GETLK, EDEADLK, release on close.
#include "t.h"
static int lk(int fd, int cmd, int type, off_t s, off_t l)
{
	struct flock f = { .l_type = type, .l_whence = SEEK_SET, .l_start = s, .l_len = l };
	return fcntl(fd, cmd, &f);
}
int main(void)
{
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	EQ(lk(fd, F_SETLK, F_WRLCK, 0, 100), 0);
	EQ(lk(fd, F_SETLK, F_UNLCK, 40, 20), 0); /* leaves 0-39 and 60-99 */
	EQ(lk(fd, F_SETLK, F_RDLCK, 60, 10), 0);
	pid_t me = getpid();
	IN_CHILD({
		ERR(lk(fd, F_SETLK, F_RDLCK, 39, 1), EAGAIN);
		EQ(lk(fd, F_SETLK, F_WRLCK, 40, 20), 0);
		EQ(lk(fd, F_SETLK, F_RDLCK, 60, 10), 0);
		ERR(lk(fd, F_SETLK, F_WRLCK, 60, 10), EAGAIN);
		ERR(lk(fd, F_SETLK, F_RDLCK, 70, 1), EAGAIN);
		struct flock q = { .l_type = F_WRLCK, .l_start = 65, .l_len = 0 };
		OK(fcntl(fd, F_GETLK, &q));
		CHECK(q.l_pid == me);
		printf("%d %ld %ld\n", q.l_type, (long)q.l_start, (long)q.l_len);
		struct flock w = { .l_type = F_WRLCK, .l_start = 100, .l_len = 0 };
		OK(fcntl(fd, F_GETLK, &w));
		EQ(w.l_type, F_UNLCK);
	});
	/* Closing any descriptor of the file drops all of the process's locks. */
	OK(close(OK(open("f", O_RDONLY))));
	IN_CHILD(EQ(lk(fd, F_SETLK, F_WRLCK, 0, 0), 0));
	/* Deadlock of two is refused. */
	int p[2];
	OK(pipe(p));
	EQ(lk(fd, F_SETLK, F_WRLCK, 0, 1), 0);
	pid_t k = OK(fork());
	if (!k) {
		EQ(lk(fd, F_SETLK, F_WRLCK, 1, 1), 0);
		EQ(write(p[1], "x", 1), 1);
		EQ(lk(fd, F_SETLKW, F_WRLCK, 0, 1), 0);
		_exit(0);
	}
	char c;
	EQ(read(p[0], &c, 1), 1);
	t_until_asleep(k);
	ERR(lk(fd, F_SETLKW, F_WRLCK, 1, 1), EDEADLK);
	EQ(lk(fd, F_SETLK, F_UNLCK, 0, 0), 0);
	t_reap(k);
	ERR(lk(fd, F_SETLK, 99, 0, 1), EINVAL);
	ERR(lk(fd, F_SETLK, F_RDLCK, -1, 1), EINVAL);
	ERR(lk(OK(open("f", O_RDONLY)), F_SETLK, F_WRLCK, 0, 1), EBADF);
	say("locks ok");
}
