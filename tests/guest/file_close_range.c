// close_range closes or marks a range and leaves the rest.
#include "t.h"
int main(void)
{
	for (int i = 10; i < 20; i++)
		EQ(dup2(1, i), i);
	EQ(syscall(SYS_close_range, 12, 14, 0), 0);
	for (int i = 10; i < 20; i++)
		printf("%d:%d ", i, fcntl(i, F_GETFD));
	puts("");
	EQ(syscall(SYS_close_range, 16, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */), 0);
	EQ(fcntl(15, F_GETFD), 0);
	EQ(fcntl(17, F_GETFD), FD_CLOEXEC);
	ERR(syscall(SYS_close_range, 5, 4, 0), EINVAL);
	ERR(syscall(SYS_close_range, 5, 6, 128), EINVAL);
	EQ(syscall(SYS_close_range, 5, ~0U, 2 /* CLOSE_RANGE_UNSHARE */), 0);
	ERR(fcntl(10, F_GETFD), EBADF);
	say("close_range ok");
}
