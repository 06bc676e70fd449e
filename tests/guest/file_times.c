// utimensat: explicit times, UTIME_NOW, UTIME_OMIT; writes move mtime and ctime.
#include "t.h"
int main(void)
{
	t_write("f", "x");
	struct timespec ts[2] = { { 1000000000, 123456789 }, { 1100000000, 987654321 } };
	EQ(utimensat(AT_FDCWD, "f", ts, 0), 0);
	struct stat a, b;
	EQ(stat("f", &a), 0);
	printf("%ld.%09ld %ld.%09ld\n", a.st_atim.tv_sec, a.st_atim.tv_nsec, a.st_mtim.tv_sec, a.st_mtim.tv_nsec);
	CHECK(a.st_ctim.tv_sec > 1100000000);
	struct timespec omit[2] = { { 0, UTIME_OMIT }, { 0, UTIME_NOW } };
	EQ(utimensat(AT_FDCWD, "f", omit, 0), 0);
	EQ(stat("f", &b), 0);
	CHECK(b.st_atim.tv_sec == 1000000000 && b.st_mtim.tv_sec > 1100000000);
	struct timespec bad[2] = { { 0, 1000000000 }, { 0, 0 } };
	ERR(utimensat(AT_FDCWD, "f", bad, 0), EINVAL);
	ERR(utimensat(AT_FDCWD, "f", ts, 4), EINVAL);
	ERR(utimensat(AT_FDCWD, "none", ts, 0), ENOENT);
	OK(symlink("f", "l"));
	EQ(utimensat(AT_FDCWD, "l", ts, AT_SYMLINK_NOFOLLOW), 0);
	EQ(lstat("l", &a), 0);
	CHECK(a.st_mtim.tv_sec == 1100000000);
	/* A write moves mtime and ctime forward, a chmod only ctime. */
	EQ(utimensat(AT_FDCWD, "f", ts, 0), 0);
	t_msleep(20);
	OK(chmod("f", 0600));
	EQ(stat("f", &a), 0);
	CHECK(a.st_mtim.tv_sec == 1100000000);
	int fd = OK(open("f", O_WRONLY));
	t_msleep(20);
	EQ(write(fd, "y", 1), 1);
	EQ(fstat(fd, &b), 0);
	CHECK(b.st_mtim.tv_sec > 1100000000 && b.st_ctim.tv_nsec != a.st_ctim.tv_nsec);
	/* Creating in a directory moves the directory's mtime. */
	OK(mkdir("d", 0700));
	EQ(utimensat(AT_FDCWD, "d", ts, 0), 0);
	t_write("d/x", "");
	EQ(stat("d", &a), 0);
	CHECK(a.st_mtim.tv_sec > 1100000000);
	say("times ok");
}
