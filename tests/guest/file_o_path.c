// O_PATH descriptors name a file without opening it.
#include "t.h"
int main(void)
{
	t_write("f", "text");
	OK(mkdir("d", 0700));
	t_write("d/g", "inner");
	OK(symlink("f", "l"));
	int p = OK(open("f", O_PATH));
	char b[8];
	ERR(read(p, b, 4), EBADF);
	ERR(write(p, b, 4), EBADF);
	ERR(fchmod(p, 0600), EBADF);
	struct stat st;
	EQ(fstat(p, &st), 0);
	EQ(st.st_size, 4);
	int d = OK(open("d", O_PATH | O_DIRECTORY));
	int g = OK(openat(d, "g", O_RDONLY));
	EQ(read(g, b, 5), 5);
	OK(fchdir(d));
	EQ(access("g", F_OK), 0);
	OK(chdir(".."));
	int l = OK(open("l", O_PATH | O_NOFOLLOW));
	EQ(fstat(l, &st), 0);
	CHECK(S_ISLNK(st.st_mode));
	char link[64];
	EQ(readlinkat(l, "", link, sizeof link), 1);
	ERR(open("f", O_PATH | O_DIRECTORY), ENOTDIR);
	/* It can be reopened through /proc. */
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", p);
	int r = OK(open(path, O_RDONLY));
	EQ(read(r, b, 8), 4);
	/* And linkat with AT_EMPTY_PATH works for root. */
	say("O_PATH ok");
}
