// O_NOFOLLOW, symlink loops and link chains.
#include "t.h"
int main(void)
{
	t_write("f", "x");
	OK(symlink("f", "l"));
	OK(symlink("loop2", "loop1"));
	OK(symlink("loop1", "loop2"));
	OK(symlink("self", "self"));
	ERR(open("l", O_RDONLY | O_NOFOLLOW), ELOOP);
	ERR(open("loop1", O_RDONLY), ELOOP);
	ERR(open("self/x", O_RDONLY), ELOOP);
	struct stat st;
	ERR(stat("self", &st), ELOOP);
	EQ(lstat("self", &st), 0);
	EQ(st.st_size, 4);
	/* 40 links are followed, the 41st is one too many. */
	char a[32], b[32];
	OK(symlink("f", "c1"));
	for (int i = 2; i <= 41; i++) {
		snprintf(a, sizeof a, "c%d", i - 1);
		snprintf(b, sizeof b, "c%d", i);
		OK(symlink(a, b));
	}
	EQ(stat("c40", &st), 0);
	ERR(stat("c41", &st), ELOOP);
	/* A dangling link is created through, but not with O_EXCL. */
	OK(symlink("target", "dangling"));
	ERR(open("dangling", O_RDONLY), ENOENT);
	ERR(open("dangling", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
	OK(open("dangling", O_CREAT | O_RDWR, 0600));
	EQ(access("target", F_OK), 0);
	ERR(symlink("f", "l"), EEXIST);
	ERR(symlink("", "e"), ENOENT);
	char buf[8];
	EQ(readlink("c1", buf, sizeof buf), 1);
	EQ(readlink("c11", buf, 2), 2); /* cut without a word */
	ERR(readlink("f", buf, sizeof buf), EINVAL);
	ERR(readlink("l", buf, 0), EINVAL);
	OK(symlink(".", "dot"));
	EQ(stat("dot/dot/dot/f", &st), 0);
	say("links ok");
}
