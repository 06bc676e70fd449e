// The tail of the last page is zero and stays out of the file.
#include "t.h"
int main(void)
{
	t_write("f", "short");
	int fd = OK(open("f", O_RDWR));
	char *m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(m != MAP_FAILED);
	for (size_t i = 5; i < PAGE; i++)
		CHECK(m[i] == 0);
	strcpy(m, "SHORT and a tail");
	struct stat st;
	OK(fstat(fd, &st));
	EQ(st.st_size, 5);
	EQ(munmap(m, PAGE), 0);
	OK(ftruncate(fd, 20));
	char b[20];
	EQ(pread(fd, b, 20, 0), 20);
	EQ(memcmp(b, "SHORT", 5), 0);
	say("tail ok");
}
