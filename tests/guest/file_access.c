// needs: root
// access uses the real ids, faccessat2 with AT_EACCESS the effective ones.
#include "t.h"
static int fa2(const char *p, int m, int f) { return syscall(SYS_faccessat2, AT_FDCWD, p, m, f); }
int main(void)
{
	t_write("r", "");
	OK(chmod("r", 0600));
	OK(chmod(".", 0755));
	EQ(access("r", R_OK | W_OK), 0);
	ERR(access("r", X_OK), EACCES);
	ERR(access("none", F_OK), ENOENT);
	ERR(access("r", 8), EINVAL);
	ERR(fa2("r", R_OK, 1), EINVAL);
	OK(symlink("none", "l"));
	ERR(access("l", F_OK), ENOENT);
	EQ(fa2("l", F_OK, AT_SYMLINK_NOFOLLOW), 0);
	IN_CHILD({
		OK(setresuid(1000, 0, 0));
		ERR(access("r", R_OK), EACCES);
		EQ(fa2("r", R_OK, AT_EACCESS), 0);
	});
	IN_CHILD({
		OK(setresuid(0, 1000, 0));
		EQ(access("r", R_OK), 0);
		ERR(fa2("r", R_OK, AT_EACCESS), EACCES);
	});
	say("access ok");
}
