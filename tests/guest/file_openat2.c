// openat2 resolve flags keep a walk inside its directory.
#include "t.h"
#include <linux/openat2.h>
static int o2(int dir, const char *p, unsigned long flags, unsigned long resolve, unsigned long mode)
{
	struct open_how h = { .flags = flags, .resolve = resolve, .mode = mode };
	return syscall(SYS_openat2, dir, p, &h, sizeof h);
}
int main(void)
{
	OK(mkdir("d", 0700));
	OK(mkdir("d/sub", 0700));
	t_write("d/f", "in");
	t_write("f", "out");
	OK(symlink("../f", "d/up"));
	OK(symlink("/f", "d/abs"));
	OK(symlink("f", "d/rel"));
	int d = OK(open("d", O_RDONLY | O_DIRECTORY));
	OK(o2(d, "f", O_RDONLY, 0, 0));
	OK(o2(d, "rel", O_RDONLY, RESOLVE_BENEATH, 0));
	ERR(o2(d, "../f", O_RDONLY, RESOLVE_BENEATH, 0), EXDEV);
	ERR(o2(d, "up", O_RDONLY, RESOLVE_BENEATH, 0), EXDEV);
	ERR(o2(d, "abs", O_RDONLY, RESOLVE_BENEATH, 0), EXDEV);
	OK(o2(d, "sub/../f", O_RDONLY, RESOLVE_BENEATH, 0));
	int r = OK(o2(d, "abs", O_RDONLY, RESOLVE_IN_ROOT, 0));
	char b[4] = "";
	EQ(read(r, b, 4), 2);
	r = OK(o2(d, "up", O_RDONLY, RESOLVE_IN_ROOT, 0));
	EQ(read(r, b, 4), 2);
	ERR(o2(d, "rel", O_RDONLY, RESOLVE_NO_SYMLINKS, 0), ELOOP);
	ERR(o2(d, "rel", O_RDONLY | O_NOFOLLOW, 0, 0), ELOOP);
	ERR(o2(AT_FDCWD, "/proc/self/exe", O_RDONLY, RESOLVE_NO_MAGICLINKS, 0), ELOOP);
	ERR(o2(AT_FDCWD, "/proc/self/stat", O_RDONLY, RESOLVE_NO_XDEV, 0), EXDEV);
	ERR(o2(d, "f", O_RDONLY, 1 << 20, 0), EINVAL);
	ERR(o2(d, "f", 1UL << 40, 0, 0), EINVAL);
	ERR(o2(d, "f", O_RDONLY, 0, 0600), EINVAL);
	ERR(o2(d, "f", O_RDONLY, RESOLVE_BENEATH | RESOLVE_IN_ROOT, 0), EINVAL);
	struct { struct open_how h; long extra; } big = { .h.flags = O_RDONLY };
	OK(syscall(SYS_openat2, d, "f", &big, sizeof big));
	big.extra = 1;
	ERR(syscall(SYS_openat2, d, "f", &big, sizeof big), E2BIG);
	ERR(syscall(SYS_openat2, d, "f", &big, 8), EINVAL);
	say("openat2 ok");
}
