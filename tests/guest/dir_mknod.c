// needs: root
// mknod: devices, FIFOs and plain files; null, zero and full devices behave.
#include "t.h"
#include <sys/sysmacros.h>
int main(void)
{
	OK(mknod("plain", S_IFREG | 0600, 0));
	OK(mknod("zerotype", 0600, 0));
	OK(mknod("fifo", S_IFIFO | 0600, 0));
	OK(mknod("dev", S_IFCHR | 0600, makedev(7, 300)));
	struct stat st;
	OK(stat("dev", &st));
	printf("%o %u:%u\n", st.st_mode, major(st.st_rdev), minor(st.st_rdev));
	OK(stat("zerotype", &st));
	CHECK(S_ISREG(st.st_mode));
	ERR(mknod("plain", S_IFREG, 0), EEXIST);
	ERR(mknod("dir", S_IFDIR | 0700, 0), EPERM);
	char b[16] = "xxxxxxxx";
	int n = OK(open("/dev/null", O_RDWR)), z = OK(open("/dev/zero", O_RDWR)), f = OK(open("/dev/full", O_RDWR));
	EQ(read(n, b, 8), 0);
	EQ(write(n, b, 8), 8);
	EQ(read(z, b, 8), 8);
	EQ(memcmp(b, "\0\0\0\0\0\0\0\0", 8), 0);
	EQ(write(z, b, 8), 8);
	EQ(read(f, b, 8), 8);
	ERR(write(f, b, 8), ENOSPC);
	EQ(lseek(n, 100, SEEK_SET), 0); /* it has no position */
	int r = OK(open("/dev/urandom", O_RDONLY));
	char x[32], y[32];
	EQ(read(r, x, 32), 32);
	EQ(read(r, y, 32), 32);
	CHECK(memcmp(x, y, 32));
	say("mknod ok");
}
