// Open file description locks belong to the open file, not to the process.
#include "t.h"
static int lk(int fd, int cmd, int type, off_t s, off_t l)
{
	struct flock f = { .l_type = type, .l_whence = SEEK_SET, .l_start = s, .l_len = l };
	return fcntl(fd, cmd, &f);
}
int main(void)
{
	int a = OK(open("f", O_CREAT | O_RDWR, 0600)), b = OK(open("f", O_RDWR));
	EQ(lk(a, F_OFD_SETLK, F_WRLCK, 0, 10), 0);
	ERR(lk(b, F_OFD_SETLK, F_WRLCK, 5, 10), EAGAIN);
	ERR(lk(b, F_SETLK, F_WRLCK, 5, 10), EAGAIN);
	OK(close(OK(open("f", O_RDONLY)))); /* drops nothing */
	ERR(lk(b, F_OFD_SETLK, F_WRLCK, 5, 10), EAGAIN);
	IN_CHILD(EQ(lk(a, F_OFD_SETLK, F_WRLCK, 0, 20), 0));
	ERR(lk(b, F_OFD_SETLK, F_WRLCK, 15, 1), EAGAIN);
	struct flock q = { .l_type = F_WRLCK, .l_start = 0 };
	OK(fcntl(b, F_OFD_GETLK, &q));
	printf("%d %ld %ld pid %d\n", q.l_type, (long)q.l_start, (long)q.l_len, q.l_pid);
	struct flock bad = { .l_type = F_WRLCK, .l_pid = 5 };
	ERR(fcntl(b, F_OFD_SETLK, &bad), EINVAL);
	OK(close(a));
	EQ(lk(b, F_OFD_SETLK, F_WRLCK, 0, 0), 0);
	say("ofd ok");
}
