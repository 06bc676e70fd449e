// File mappings: private copies, shared writes seen by read, offsets, permissions.
#include "t.h"
int main(void)
{
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	char b[3 * PAGE];
	for (size_t i = 0; i < sizeof b; i++)
		b[i] = 'a' + i / PAGE;
	EQ(write(fd, b, sizeof b), sizeof b);
	char *s = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PAGE);
	CHECK(s != MAP_FAILED && p != MAP_FAILED);
	printf("%c%c%c %c%c\n", s[0], s[PAGE], s[2 * PAGE], p[0], p[PAGE]);
	p[0] = 'P';
	EQ(s[PAGE], 'b');
	s[2 * PAGE] = 'S';
	EQ(p[PAGE], 'S'); /* not copied yet: the file shows through */
	EQ(pread(fd, b, 1, 2 * PAGE), 1);
	EQ(b[0], 'S');
	EQ(pwrite(fd, "W", 1, 5), 1);
	EQ(s[5], 'W');
	EQ(msync(s, 3 * PAGE, MS_SYNC), 0);
	EQ(msync(s, PAGE, MS_ASYNC), 0);
	ERR(msync(s, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
	ERR(msync(s + 1, PAGE, MS_SYNC), EINVAL);
	OK(close(fd)); /* the mapping stays */
	EQ(s[5], 'W');
	int ro = OK(open("f", O_RDONLY)), wo = OK(open("f", O_WRONLY));
	CHECK(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, ro, 0) == MAP_FAILED && errno == EACCES);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, wo, 0) == MAP_FAILED && errno == EACCES);
	char *rp = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, ro, 0);
	CHECK(rp != MAP_FAILED);
	rp[0] = 'x';
	char *rs = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 0);
	ERR(mprotect(rs, PAGE, PROT_READ | PROT_WRITE), EACCES);
	EQ(rs[0], 'a');
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, OK(open(".", O_RDONLY)), 0) == MAP_FAILED && errno == ENODEV);
	say("file mappings ok");
}
