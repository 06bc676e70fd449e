// Shared anonymous memory joins parent and children, also when mapped before use.
#include "t.h"
int main(void)
{
	int *s = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(s != MAP_FAILED);
	for (int k = 0; k < 8; k++)
		if (OK(fork()) == 0) {
			for (int i = 0; i < 1000; i++)
				__atomic_add_fetch(&s[i % 64 * 1024], 1, __ATOMIC_SEQ_CST);
			_exit(0);
		}
	int st, n = 0;
	while (wait(&st) > 0)
		n += st == 0;
	int sum = 0;
	for (int i = 0; i < 64; i++)
		sum += s[i * 1024];
	printf("%d children, sum %d\n", n, sum);
	/* mremap keeps it shared. */
	int *t = mremap(s, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
	IN_CHILD(t[1] = 77);
	EQ(t[1], 77);
	EQ(madvise(t, PAGE, MADV_DONTNEED), 0);
	EQ(t[1], 77); /* shared memory is not forgotten */
}
