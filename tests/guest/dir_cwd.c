// getcwd, chdir, fchdir, and a working directory that is removed or renamed.
#include "t.h"
int main(void)
{
	char base[500], b[600];
	CHECK(getcwd(base, sizeof base));
	OK(mkdir("a", 0700));
	OK(mkdir("a/b", 0700));
	OK(chdir("a/b"));
	CHECK(getcwd(b, sizeof b));
	EQ(strncmp(b, base, strlen(base)), 0);
	puts(b + strlen(base));
	OK(rename("../../a", "../../z"));
	CHECK(getcwd(b, sizeof b));
	puts(b + strlen(base));
	EQ(syscall(SYS_getcwd, b, sizeof b), strlen(b) + 1);
	ERR(syscall(SYS_getcwd, b, 3), ERANGE);
	ERR(syscall(SYS_getcwd, (void *)1, 500), EFAULT);
	OK(rmdir("../b"));
	ERR(syscall(SYS_getcwd, b, sizeof b), ENOENT);
	ERR(open("new", O_CREAT | O_RDWR, 0600), ENOENT);
	ERR(mkdir("d", 0700), ENOENT);
	struct stat st;
	EQ(stat(".", &st), 0);
	EQ(st.st_nlink, 0);
	EQ(stat("..", &st), 0);
	OK(chdir(".."));
	CHECK(getcwd(b, sizeof b));
	puts(b + strlen(base));
	int d = OK(open(".", O_RDONLY));
	OK(chdir("/"));
	OK(fchdir(d));
	t_write("f", "");
	ERR(fchdir(OK(open("f", O_RDONLY))), ENOTDIR);
	ERR(chdir("f"), ENOTDIR);
	ERR(chdir("none"), ENOENT);
}
