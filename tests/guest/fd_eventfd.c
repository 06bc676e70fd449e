// eventfd: counting, semaphore mode, overflow, blocking and poll.
#include "t.h"
#include <sys/eventfd.h>
int main(void)
{
	int e = OK(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC));
	uint64_t v = 4;
	EQ(write(e, &v, 8), 8);
	EQ(read(e, &v, 8), 8);
	printf("%lu\n", v);
	ERR(read(e, &v, 8), EAGAIN);
	ERR(read(e, &v, 4), EINVAL);
	v = ~0UL;
	ERR(write(e, &v, 8), EINVAL);
	v = ~0UL - 1;
	EQ(write(e, &v, 8), 8);
	v = 1;
	ERR(write(e, &v, 8), EAGAIN);
	struct pollfd f = { e, POLLIN | POLLOUT };
	EQ(poll(&f, 1, 0), 1);
	EQ(f.revents, POLLIN);
	EQ(read(e, &v, 8), 8);
	EQ(poll(&f, 1, 0), 1);
	EQ(f.revents, POLLOUT);
	int s = OK(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
	EQ(read(s, &v, 8), 8);
	EQ(v, 1);
	EQ(read(s, &v, 8), 8);
	ERR(read(s, &v, 8), EAGAIN);
	ERR(eventfd(0, 0x10), EINVAL);
	int b = OK(eventfd(0, 0));
	pid_t k = OK(fork());
	if (!k) {
		EQ(read(b, &v, 8), 8);
		printf("woken with %lu\n", v);
		_exit(0);
	}
	t_until_asleep(k);
	v = 9;
	EQ(write(b, &v, 8), 8);
	t_reap(k);
}
