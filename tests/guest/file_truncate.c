// truncate and ftruncate: growing reads zeros, shrinking forgets.
#include "t.h"
int main(void)
{
	t_write("a", "hello world");
	int fd = OK(open("a", O_RDWR));
	OK(ftruncate(fd, 5));
	OK(ftruncate(fd, 10000));
	char b[10000];
	EQ(read(fd, b, sizeof b), 10000);
	EQ(memcmp(b, "hello\0\0\0", 8), 0);
	for (int i = 5; i < 10000; i++)
		CHECK(b[i] == 0);
	EQ(lseek(fd, 0, SEEK_CUR), 10000);
	OK(ftruncate(fd, 0));
	EQ(lseek(fd, 0, SEEK_CUR), 10000); /* the offset stays */
	EQ(write(fd, "x", 1), 1);
	struct stat st;
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, 10001);
	EQ(pread(fd, b, 10, 9995), 6);
	EQ(memcmp(b, "\0\0\0\0\0x", 6), 0);
	ERR(ftruncate(fd, -1), EINVAL);
	ERR(truncate("none", 0), ENOENT);
	ERR(truncate(".", 0), EISDIR);
	ERR(ftruncate(OK(open("a", O_RDONLY)), 0), EINVAL);
	struct rlimit rl = { 20000, RLIM_INFINITY };
	OK(setrlimit(RLIMIT_FSIZE, &rl));
	signal(SIGXFSZ, SIG_IGN);
	ERR(ftruncate(fd, 20001), EFBIG);
	EQ(pwrite(fd, "0123456789", 10, 19995), 5);
	ERR(pwrite(fd, "0", 1, 20000), EFBIG);
	say("truncate ok");
}
