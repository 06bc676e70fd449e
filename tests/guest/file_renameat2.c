// renameat2: RENAME_NOREPLACE and RENAME_EXCHANGE.
#include "t.h"
static int r2(const char *a, const char *b, unsigned f) { return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, f); }
int main(void)
{
	t_write("a", "A");
	t_write("b", "B");
	OK(mkdir("d", 0700));
	t_write("d/in", "I");
	ERR(r2("a", "b", 1), EEXIST);
	ERR(r2("a", "a", 1), EEXIST);
	EQ(r2("a", "c", 1), 0);
	EQ(r2("b", "c", 2), 0);
	char x;
	EQ(read(OK(open("b", O_RDONLY)), &x, 1), 1);
	EQ(x, 'A');
	EQ(r2("b", "d", 2), 0); /* a file and a directory may change places */
	EQ(access("b/in", F_OK), 0);
	struct stat st;
	EQ(stat("d", &st), 0);
	CHECK(S_ISREG(st.st_mode));
	ERR(r2("b", "none", 2), ENOENT);
	ERR(r2("b", "b/x", 2), ENOENT);
	OK(mkdir("b/x", 0700));
	ERR(r2("b", "b/x", 2), EINVAL);
	ERR(r2("b/x", "b", 2), EINVAL);
	ERR(r2("b", "c", 3), EINVAL);
	ERR(r2("b", "c", 64), EINVAL);
	say("renameat2 ok");
}
