// A file with a hole of a gigabyte: SEEK_DATA and SEEK_HOLE are consistent.
#include "t.h"
int main(void)
{
	int fd = OK(open("s", O_CREAT | O_RDWR, 0600));
	char b[4096];
	memset(b, 'x', sizeof b);
	off_t far = 1L << 30;
	EQ(pwrite(fd, b, 4096, 0), 4096);
	EQ(pwrite(fd, b, 4096, far), 4096);
	OK(fsync(fd));
	struct stat st;
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, far + 4096);
	CHECK(st.st_blocks < 1000);
	EQ(lseek(fd, 0, SEEK_DATA), 0);
	EQ(lseek(fd, 0, SEEK_HOLE), 4096);
	EQ(lseek(fd, 4096, SEEK_DATA), far);
	EQ(lseek(fd, 5000, SEEK_HOLE), 5000);
	EQ(lseek(fd, far, SEEK_HOLE), far + 4096);
	ERR(lseek(fd, far + 4096, SEEK_DATA), ENXIO);
	ERR(lseek(fd, far + 5000, SEEK_HOLE), ENXIO);
	ERR(lseek(fd, -1, SEEK_SET), EINVAL);
	ERR(lseek(fd, 0, 99), EINVAL);
	EQ(lseek(fd, 10, SEEK_END), far + 4106);
	EQ(read(fd, b, 10), 0);
	EQ(pread(fd, b, 4096, far / 2), 4096);
	for (int i = 0; i < 4096; i++)
		CHECK(b[i] == 0);
	int p[2];
	OK(pipe(p));
	ERR(lseek(p[0], 0, SEEK_CUR), ESPIPE);
	ERR(pread(p[0], b, 1, 0), ESPIPE);
	say("sparse ok");
}
