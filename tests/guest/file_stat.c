// stat, lstat, fstat, fstatat and statx agree on every field.
#include "t.h"
#include <sys/sysmacros.h>
int main(void)
{
	t_write("f", "12345");
	OK(chmod("f", 04751));
	OK(symlink("f", "l"));
	OK(mkdir("d", 0755));
	OK(mkfifo("p", 0600));
	struct stat a, b;
	struct statx x;
	EQ(stat("l", &a), 0);
	EQ(lstat("f", &b), 0);
	EQ(memcmp(&a, &b, sizeof a), 0);
	EQ(a.st_mode, S_IFREG | 04751);
	EQ(a.st_size, 5);
	EQ(a.st_nlink, 1);
	EQ(a.st_blksize, 4096);
	EQ(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x), 0);
	CHECK((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	CHECK(x.stx_ino == a.st_ino && x.stx_size == 5 && x.stx_mode == a.st_mode);
	CHECK(x.stx_dev_major == major(a.st_dev) && x.stx_dev_minor == minor(a.st_dev));
	CHECK(x.stx_mtime.tv_sec == a.st_mtim.tv_sec && x.stx_mtime.tv_nsec == a.st_mtim.tv_nsec);
	EQ(statx(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x), 0);
	CHECK(S_ISLNK(x.stx_mode));
	ERR(statx(AT_FDCWD, "f", 0x80000, 0, &x), EINVAL);
	ERR(statx(AT_FDCWD, "f", 0, 0x80000000, &x), EINVAL);
	int fd = OK(open("f", O_RDONLY));
	EQ(fstatat(fd, "", &b, AT_EMPTY_PATH), 0);
	EQ(a.st_ino, b.st_ino);
	ERR(fstatat(fd, "", &b, 0), ENOENT);
	ERR(fstatat(fd, "x", &b, 0), ENOTDIR);
	ERR(fstatat(99, "x", &b, 0), EBADF);
	EQ(fstatat(99, "/", &b, 0), 0);
	EQ(lstat("p", &b), 0);
	CHECK(S_ISFIFO(b.st_mode));
	EQ(stat("d", &b), 0);
	EQ(b.st_nlink, 2);
	EQ(stat("/dev/null", &b), 0);
	printf("null %o %u:%u\n", b.st_mode, major(b.st_rdev), minor(b.st_rdev));
	EQ(stat("/dev/zero", &b), 0);
	printf("zero %o %u:%u\n", b.st_mode, major(b.st_rdev), minor(b.st_rdev));
	ERR(stat("f", (void *)1), EFAULT);
	ERR(stat((void *)1, &b), EFAULT);
}
