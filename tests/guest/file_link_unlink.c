// Hard links, unlink of open files, unlinkat and rmdir errors.
#include "t.h"
int main(void)
{
	t_write("a", "data");
	OK(link("a", "b"));
	struct stat st;
	EQ(stat("b", &st), 0);
	EQ(st.st_nlink, 2);
	ERR(link("a", "b"), EEXIST);
	ERR(link("none", "c"), ENOENT);
	OK(mkdir("d", 0700));
	ERR(link("d", "e"), EPERM);
	ERR(unlink("d"), EISDIR);
	ERR(rmdir("a"), ENOTDIR);
	ERR(unlink("none"), ENOENT);
	int fd = OK(open("a", O_RDWR));
	OK(unlink("a"));
	OK(unlink("b"));
	EQ(fstat(fd, &st), 0);
	EQ(st.st_nlink, 0);
	EQ(pwrite(fd, "more", 4, 4), 4);
	char buf[9] = "";
	EQ(pread(fd, buf, 8, 0), 8);
	puts(buf);
	OK(close(fd));
	t_write("d/x", "");
	ERR(rmdir("d"), ENOTEMPTY);
	ERR(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR), ENOTEMPTY);
	ERR(unlinkat(AT_FDCWD, "d", 1), EINVAL);
	OK(unlink("d/x"));
	ERR(rmdir("d/."), EINVAL);
	ERR(rmdir("d/.."), ENOTEMPTY);
	OK(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
	ERR(rmdir("/"), EBUSY);
	OK(symlink("nowhere", "s"));
	OK(link("s", "s2")); /* the link itself gets a second name */
	EQ(lstat("s2", &st), 0);
	CHECK(S_ISLNK(st.st_mode) && st.st_nlink == 2);
	say("unlink ok");
}
