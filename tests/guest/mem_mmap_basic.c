// mmap and munmap: zeroed pages, splitting, merging, refusals.
#include "t.h"
int main(void)
{
	char *m = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	for (size_t i = 0; i < 16 * PAGE; i++)
		CHECK(m[i] == 0);
	memset(m, 7, 16 * PAGE);
	EQ(munmap(m + 4 * PAGE, 4 * PAGE), 0);
	EQ(m[3 * PAGE], 7);
	EQ(m[8 * PAGE], 7);
	EQ(munmap(m + 4 * PAGE, 4 * PAGE), 0); /* nothing there: fine */
	char *n = mmap(m + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(n == m + 4 * PAGE);
	EQ(*n, 0);
	n = mmap(m, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(n == MAP_FAILED && errno == EEXIST);
	n = mmap(m + 6 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(n == m + 6 * PAGE);
	/* A hint that is free is honoured. */
	EQ(munmap(m + 6 * PAGE, PAGE), 0);
	n = mmap(m + 6 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(n == m + 6 * PAGE);
	CHECK(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(m + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0) == MAP_FAILED && errno == EBADF);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 0, 1) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(NULL, 1UL << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM);
	CHECK(mmap(NULL, -1UL, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM);
	ERR(munmap(m + 1, PAGE), EINVAL);
	ERR(munmap(m, 0), EINVAL);
	ERR(munmap((void *)(1UL << 47), PAGE), EINVAL);
	say("mmap ok");
}
