// mremap: growing, shrinking, moving, MREMAP_FIXED and DONTUNMAP.
#include "t.h"
int main(void)
{
	char *m = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 8; i++)
		m[i * PAGE] = i + 1;
	EQ(munmap(m + 6 * PAGE, 2 * PAGE), 0);
	EQ((char *)mremap(m, 6 * PAGE, 3 * PAGE, 0) - m, 0);
	char *blk = mmap(m + 3 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(blk == m + 3 * PAGE);
	CHECK(mremap(m, 3 * PAGE, 6 * PAGE, 0) == MAP_FAILED && errno == ENOMEM);
	char *n = mremap(m, 3 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
	CHECK(n != MAP_FAILED && n != m);
	for (int i = 0; i < 3; i++)
		EQ(n[i * PAGE], i + 1);
	for (int i = 3; i < 64; i++)
		EQ(n[i * PAGE], 0);
	n[63 * PAGE] = 63;
	char *f = mremap(n + 60 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, m);
	CHECK(f == m);
	EQ(m[3 * PAGE], 63);
	CHECK(mremap(n, PAGE, PAGE, MREMAP_FIXED, m) == MAP_FAILED && errno == EINVAL);
	CHECK(mremap(n, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, n + PAGE) == MAP_FAILED && errno == EINVAL);
	CHECK(mremap(n + 1, PAGE, PAGE, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mremap(n, PAGE, 0, 0) == MAP_FAILED && errno == EINVAL);
	CHECK(mremap((void *)16384, PAGE, 2 * PAGE, 0) == MAP_FAILED && errno == EFAULT);
	char *d = mremap(n, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | 4 /* DONTUNMAP */);
	CHECK(d != MAP_FAILED && d != n);
	EQ(d[PAGE], 2);
	EQ(n[PAGE], 0); /* still mapped, empty */
	/* A shared file mapping grows into the file. */
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	OK(ftruncate(fd, 4 * PAGE));
	EQ(pwrite(fd, "Z", 1, 3 * PAGE), 1);
	char *s = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	s = mremap(s, PAGE, 4 * PAGE, MREMAP_MAYMOVE);
	EQ(s[3 * PAGE], 'Z');
	say("mremap ok");
}
