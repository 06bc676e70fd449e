// statfs on tmpfs and proc: magic numbers and plausible sizes.
#include "t.h"
#include <sys/statfs.h>
#include <sys/statvfs.h>
int main(void)
{
	struct statfs s;
	EQ(statfs("/proc", &s), 0);
	EQ(s.f_type, 0x9fa0);
	EQ(statfs(".", &s), 0);
	CHECK(s.f_bsize >= 512 && s.f_blocks >= s.f_bfree && s.f_namelen == 255);
	int fd = OK(open("/proc", O_RDONLY));
	EQ(fstatfs(fd, &s), 0);
	EQ(s.f_type, 0x9fa0);
	ERR(statfs("none", &s), ENOENT);
	ERR(statfs(".", (void *)1), EFAULT);
	struct statvfs v;
	EQ(statvfs(".", &v), 0);
	CHECK(v.f_namemax == 255);
	sync();
	EQ(syncfs(fd), 0);
	say("statfs ok");
}
