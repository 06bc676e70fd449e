// needs: root
// chmod, chown, umask and what clears the setuid bits.
#include "t.h"
static int mode(const char *p)
{
	struct stat st;
	OK(stat(p, &st));
	return st.st_mode & 07777;
}
int main(void)
{
	umask(027);
	OK(close(OK(open("f", O_CREAT | O_RDWR, 0777))));
	printf("%o\n", mode("f"));
	OK(mkdir("d", 0777));
	printf("%o\n", mode("d"));
	EQ(umask(022), 027);
	OK(chmod("f", 06777));
	OK(chown("f", 1000, 1001));
	printf("%o after chown\n", mode("f"));
	struct stat st;
	OK(stat("f", &st));
	EQ(st.st_uid, 1000);
	EQ(st.st_gid, 1001);
	OK(chown("f", -1, 5));
	OK(stat("f", &st));
	EQ(st.st_uid, 1000);
	EQ(st.st_gid, 5);
	/* A setgid directory hands its group down. */
	OK(chown("d", 0, 77));
	OK(chmod("d", 02775));
	t_write("d/x", "");
	OK(mkdir("d/s", 0700));
	OK(stat("d/x", &st));
	EQ(st.st_gid, 77);
	OK(stat("d/s", &st));
	EQ(st.st_gid, 77);
	CHECK(st.st_mode & S_ISGID);
	OK(chmod("f", 04755));
	OK(chown("f", 1000, 1000));
	OK(chmod("f", 06755));
	IN_CHILD({
		OK(setresgid(1000, 1000, 1000));
		OK(setresuid(1000, 1000, 1000));
		int fd = OK(open("f", O_WRONLY));
		EQ(write(fd, "x", 1), 1); /* a write by other than root drops them */
		EQ(mode("f"), 0755);
		ERR(chown("f", 0, -1), EPERM);
		OK(chmod("f", 0700));
		ERR(chmod("d", 0700), EPERM);
	});
	OK(symlink("f", "l"));
	OK(lchown("l", 9, 9));
	OK(stat("f", &st));
	EQ(st.st_uid, 1000);
	ERR(fchmodat(AT_FDCWD, "none", 0600, 0), ENOENT);
	ERR(fchownat(AT_FDCWD, "f", 0, 0, 0x8), EINVAL);
	say("ok");
}
