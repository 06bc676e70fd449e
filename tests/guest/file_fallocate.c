// fallocate: growing, KEEP_SIZE, PUNCH_HOLE and refusals.
#include "t.h"
int main(void)
{
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	OK(fallocate(fd, 0, 0, 16384));
	struct stat st;
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, 16384);
	CHECK(st.st_blocks >= 32);
	OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 65536));
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, 16384);
	char b[16384];
	memset(b, 'y', sizeof b);
	EQ(pwrite(fd, b, sizeof b, 0), 16384);
	OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
	OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10000, 100));
	EQ(pread(fd, b, sizeof b, 0), 16384);
	int zeros = 0;
	for (int i = 0; i < 16384; i++)
		zeros += b[i] == 0;
	printf("zeros after punching: %d\n", zeros);
	ERR(fallocate(fd, 0, -1, 10), EINVAL);
	ERR(fallocate(fd, 0, 0, 0), EINVAL);
	ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
	ERR(fallocate(OK(open("f", O_RDONLY)), 0, 0, 10), EBADF);
	int p[2];
	OK(pipe(p));
	ERR(fallocate(p[1], 0, 0, 10), ESPIPE);
	EQ(posix_fallocate(fd, 0, 100000), 0);
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, 100000);
	say("fallocate ok");
}
