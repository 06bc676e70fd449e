// needs: root
// chroot: absolute paths, links and .. stay inside; getcwd says unreachable outside.
#include "t.h"
int main(void)
{
	OK(mkdir("jail", 0755));
	OK(mkdir("jail/sub", 0755));
	t_write("jail/inside", "i");
	t_write("outside", "o");
	OK(symlink("/inside", "jail/abs"));
	OK(symlink("../../../inside", "jail/sub/up"));
	IN_CHILD(
		OK(chroot("jail"));
		OK(chdir("/sub"));
		EQ(access("/inside", F_OK), 0);
		EQ(access("../../../../inside", F_OK), 0);
		EQ(access("up", F_OK), 0);
		EQ(access("/abs", F_OK), 0);
		ERR(access("/outside", F_OK), ENOENT);
		ERR(access("/../outside", F_OK), ENOENT);
		char b[100];
		EQ(strcmp(getcwd(b, sizeof b), "/sub"), 0);
		puts(b));
	IN_CHILD(
		/* The working directory may stay outside. */
		OK(chroot("jail"));
		EQ(access("outside", F_OK), 0);
		EQ(access("/inside", F_OK), 0);
		char b[1000];
		CHECK(syscall(SYS_getcwd, b, sizeof b) > 0);
		EQ(strncmp(b, "(unreachable)/", 14), 0));
	ERR(chroot("outside"), ENOTDIR);
	ERR(chroot("none"), ENOENT);
	IN_CHILD(OK(setresuid(1000, 1000, 1000)); ERR(chroot("."), EPERM));
	say("chroot ok");
}
