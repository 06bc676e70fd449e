// mkdir and mkdirat: modes, link counts, dots and errors; deep trees.
#include "t.h"
int main(void)
{
	OK(mkdir("d", 0777));
	ERR(mkdir("d", 0777), EEXIST);
	ERR(mkdir("d/.", 0777), EEXIST);
	ERR(mkdir("d/..", 0777), EEXIST);
	ERR(mkdir("/", 0777), EEXIST);
	ERR(mkdir("x/y", 0777), ENOENT);
	ERR(mkdir("", 0777), ENOENT);
	OK(mkdir("slash/", 01777));
	struct stat st;
	OK(stat("slash", &st));
	printf("%o\n", st.st_mode);
	t_write("f", "");
	ERR(mkdir("f/x", 0777), ENOTDIR);
	for (int i = 0; i < 10; i++) {
		char n[16];
		snprintf(n, sizeof n, "d/%d", i);
		OK(mkdir(n, 0700));
	}
	OK(stat("d", &st));
	printf("nlink %ld\n", (long)st.st_nlink);
	for (int i = 0; i < 200; i++) {
		OK(mkdir("deep", 0700));
		OK(chdir("deep"));
	}
	char b[4096];
	CHECK(getcwd(b, sizeof b));
	CHECK(strlen(b) > 1000);
	for (int i = 0; i < 200; i++) {
		OK(chdir(".."));
		OK(rmdir("deep"));
	}
	char path[4200];
	memset(path, 'a', sizeof path);
	for (int i = 0; i < 4200; i += 2)
		path[i] = '/';
	path[4199] = 0;
	ERR(mkdir(path, 0700), ENAMETOOLONG);
	OK(symlink("newdir", "dang"));
	ERR(mkdir("dang", 0700), EEXIST);
	say("mkdir ok");
}
