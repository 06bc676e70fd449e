// F_GETFL and F_SETFL: what can be changed and what is kept.
#include "t.h"
int main(void)
{
	int fd = OK(open("a", O_CREAT | O_RDWR | O_APPEND, 0600));
	EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_CREAT), O_RDWR | O_APPEND);
	EQ(fcntl(fd, F_SETFL, O_NONBLOCK | O_WRONLY), 0);
	EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR | O_NONBLOCK);
	EQ(fcntl(fd, F_GETFD), 0);
	EQ(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ERR(fcntl(fd, 9999), EINVAL);
	ERR(fcntl(77, F_GETFL), EBADF);
	int p = OK(open("a", O_PATH));
	EQ(fcntl(p, F_GETFL) & O_PATH, O_PATH);
	ERR(fcntl(p, F_SETFL, 0), EBADF);
	say("fcntl flags ok");
}
