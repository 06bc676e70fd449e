/* Where the shm backend has its pages in every process (arch/shm/layout.rs). Elsewhere there is nothing. */
#include "../t.h"
#include <pthread.h>
#define TEXT 0x7fff00000000UL
#define K(n) (0x7fff10000000UL + (n) * 0x1000UL)
#define S(n) (0x7fff20000000UL + (n) * 0x8000UL)
#define W32(a) (*(volatile unsigned *)(a))
#define W64(a) (*(volatile unsigned long *)(a))
static unsigned long seed = 0x9e3779b97f4a7c15;
static inline unsigned long rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}
/* Whatever a hostile child does to itself, it ends, and this process and new ones work as before. */
__attribute__((unused)) static void hostile(void (*body)(int), int arg, unsigned seconds)
{
	pid_t k = OK(fork());
	if (!k) {
		OK(setsid());
		alarm(seconds);
		body(arg);
		_exit(0);
	}
	int st;
	EQ(waitpid(k, &st, 0), k);
	kill(-k, SIGKILL);
	int p[2];
	OK(pipe(p));
	pid_t good = OK(fork());
	if (!good) {
		volatile double x = 1.5;
		for (int i = 0; i < 1000; i++)
			x = x * 1.25 - x / 4;
		_exit(x != 1.5 || write(p[1], "fine", 4) != 4);
	}
	t_reap(good);
	char b[4];
	EQ(read(p[0], b, 4), 4);
	CHECK(memcmp(b, "fine", 4) == 0);
	close(p[0]);
	close(p[1]);
}
