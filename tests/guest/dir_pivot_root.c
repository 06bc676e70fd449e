// needs: root
// pivot_root in the guest alone: on a host it would need a namespace of its own. Here only what it refuses.
#include "t.h"
static long pivot(const char *a, const char *b) { return syscall(SYS_pivot_root, a, b); }
int main(void)
{
	OK(mkdir("new", 0755));
	OK(mkdir("new/old", 0755));
	t_write("file", "");
	ERR(pivot("new", "none"), ENOENT);
	ERR(pivot("file", "new/old"), ENOTDIR);
	ERR(pivot("new", "file"), ENOTDIR);
	EQ(pivot("new", "new/old"), -1); // not a mount point, and perhaps on the root itself
	CHECK(errno == EINVAL || errno == EBUSY);
	IN_CHILD(OK(setgid(65534)); OK(setuid(65534)); ERR(pivot("new", "new/old"), EPERM));
	say("pivot_root ok");
}
