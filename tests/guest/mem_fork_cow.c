// After fork neither side sees the other's writes: 4,000 pages, grandchildren too.
#include "t.h"
#define N 4000
static unsigned *page(char *m, int i) { return (unsigned *)(m + i * PAGE + i % 1000 * 4); }
int main(void)
{
	char *m = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < N; i++)
		*page(m, i) = i;
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		char c;
		EQ(read(p[0], &c, 1), 1); /* the parent has written meanwhile */
		for (int i = 0; i < N; i++)
			EQ(*page(m, i), i);
		for (int i = 0; i < N; i += 2)
			*page(m, i) += 100000;
		IN_CHILD(for (int i = 0; i < N; i++) {
			EQ(*page(m, i), i % 2 ? i : i + 100000);
			*page(m, i) = 5;
		});
		for (int i = 0; i < N; i++)
			EQ(*page(m, i), i % 2 ? i : i + 100000);
		_exit(0);
	}
	for (int i = 0; i < N; i += 3)
		*page(m, i) += 200000;
	EQ(write(p[1], "x", 1), 1);
	t_reap(k);
	for (int i = 0; i < N; i++)
		EQ(*page(m, i), i % 3 ? i : i + 200000);
	printf("%d pages\n", N);
}
