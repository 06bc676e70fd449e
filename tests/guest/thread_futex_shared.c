// Futexes in shared memory work between processes, by anonymous and by file mappings.
#include "t.h"
#include <linux/futex.h>
static void pingpong(uint32_t *f, uint32_t *g)
{
	pid_t k = OK(fork());
	if (!k) {
		for (uint32_t v = 1; v < 400; v += 2) {
			while (__atomic_load_n(g, __ATOMIC_ACQUIRE) != v)
				syscall(SYS_futex, g, FUTEX_WAIT, v - 1, NULL, NULL, 0);
			__atomic_store_n(g, v + 1, __ATOMIC_RELEASE);
			syscall(SYS_futex, g, FUTEX_WAKE, 1, NULL, NULL, 0);
		}
		_exit(0);
	}
	for (uint32_t v = 0; v < 400; v += 2) {
		__atomic_store_n(f, v + 1, __ATOMIC_RELEASE);
		syscall(SYS_futex, f, FUTEX_WAKE, 1, NULL, NULL, 0);
		while (__atomic_load_n(f, __ATOMIC_ACQUIRE) != v + 2)
			syscall(SYS_futex, f, FUTEX_WAIT, v + 1, NULL, NULL, 0);
	}
	t_reap(k);
	EQ(*f, 400);
}
int main(void)
{
	uint32_t *a = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pingpong(a, a);
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	OK(ftruncate(fd, PAGE));
	uint32_t *x = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint32_t *y = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pingpong(x, y); /* two addresses, one futex */
	say("shared futexes ok");
}
