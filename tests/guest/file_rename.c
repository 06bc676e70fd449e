// rename(2): files, directories, hard links and each refusal.
#include "t.h"
int main(void)
{
	t_write("a", "A");
	t_write("b", "B");
	EQ(rename("a", "b"), 0);
	ERR(access("a", F_OK), ENOENT);
	char c;
	EQ(read(OK(open("b", O_RDONLY)), &c, 1), 1);
	printf("b holds %c\n", c);
	ERR(rename("none", "x"), ENOENT);
	OK(mkdir("d", 0700));
	OK(mkdir("e", 0700));
	OK(mkdir("d/s", 0700));
	ERR(rename("b", "d"), EISDIR);
	ERR(rename("d", "b"), ENOTDIR);
	ERR(rename("e", "d"), ENOTEMPTY);
	ERR(rename("d", "d/s/t"), EINVAL);
	ERR(rename(".", "x"), EBUSY);
	ERR(rename("d/..", "x"), EBUSY);
	EQ(rename("d", "e"), 0); /* an empty directory is replaced */
	EQ(access("e/s", F_OK), 0);
	struct stat st;
	EQ(stat("e", &st), 0);
	EQ(st.st_nlink, 3);
	/* Two names of one file: nothing happens. */
	OK(link("b", "h"));
	EQ(rename("b", "h"), 0);
	EQ(access("b", F_OK), 0);
	EQ(access("h", F_OK), 0);
	EQ(rename("b", "b"), 0);
	/* Between directories; .. follows. */
	OK(mkdir("m", 0700));
	EQ(rename("e/s", "m/s"), 0);
	struct stat up, m;
	EQ(stat("m/s/..", &up), 0);
	EQ(stat("m", &m), 0);
	CHECK(up.st_ino == m.st_ino);
	EQ(m.st_nlink, 3);
	ERR(rename("b", "b/c"), ENOTDIR);
	EQ(rename("m/", "n"), 0);
	say("rename ok");
}
