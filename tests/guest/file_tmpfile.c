// O_TMPFILE files have no name until linkat gives them one.
#include "t.h"
int main(void)
{
	int fd = OK(open(".", O_TMPFILE | O_RDWR, 0644));
	struct stat st;
	EQ(fstat(fd, &st), 0);
	EQ(st.st_nlink, 0);
	EQ(write(fd, "unnamed", 7), 7);
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	EQ(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW), 0);
	EQ(stat("named", &st), 0);
	EQ(st.st_nlink, 1);
	EQ(st.st_size, 7);
	int ex = OK(open(".", O_TMPFILE | O_EXCL | O_RDWR, 0644));
	snprintf(path, sizeof path, "/proc/self/fd/%d", ex);
	ERR(linkat(AT_FDCWD, path, AT_FDCWD, "other", AT_SYMLINK_FOLLOW), ENOENT);
	ERR(open(".", O_TMPFILE | O_RDONLY, 0644), EINVAL);
	say("O_TMPFILE ok");
}
