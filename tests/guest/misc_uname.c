// uname: what is the same everywhere; sethostname shows; sysinfo is sane.
// needs: root
#include "t.h"
#include <sys/sysinfo.h>
#include <sys/utsname.h>
int main(void)
{
	struct utsname u;
	OK(uname(&u));
	puts(u.sysname);
	puts(u.machine);
	int major;
	EQ(sscanf(u.release, "%d.", &major), 1);
	CHECK(major >= 5);
	CHECK(u.nodename[0] && u.version[0] == '#');
	struct sysinfo i;
	OK(sysinfo(&i));
	CHECK(i.totalram > i.freeram && i.procs > 0 && i.uptime >= 0 && i.mem_unit >= 1);
	CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
	char b[256];
	OK(gethostname(b, sizeof b));
	EQ(strcmp(b, u.nodename), 0);
	ERR(sethostname("x", -1), EINVAL);
	ERR(sethostname("x", 65), EINVAL);
	IN_CHILD(OK(setresuid(1000, 1000, 1000)); ERR(sethostname("x", 1), EPERM));
	say("uname ok");
}
