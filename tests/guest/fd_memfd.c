// memfd_create and its seals.
#include "t.h"
int main(void)
{
	int fd = OK(memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	OK(ftruncate(fd, 8192));
	char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(m != MAP_FAILED);
	strcpy(m + 4096, "through memory");
	char b[32];
	EQ(pread(fd, b, 15, 4096), 15);
	puts(b);
	EQ(fcntl(fd, F_GET_SEALS), 0);
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY); /* mapped writable */
	EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	ERR(ftruncate(fd, 4096), EPERM);
	OK(ftruncate(fd, 16384));
	EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	ERR(ftruncate(fd, 20000), EPERM);
	ERR(pwrite(fd, "x", 1, 16384), EPERM);
	OK(munmap(m, 8192));
	EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL), 0);
	ERR(pwrite(fd, "x", 1, 0), EPERM);
	CHECK(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EPERM);
	ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EPERM);
	int n = OK(memfd_create("x", 0));
	ERR(fcntl(n, F_ADD_SEALS, F_SEAL_GROW), EPERM);
	char link[64], path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ssize_t l = OK(readlink(path, link, sizeof link - 1));
	link[l] = 0;
	puts(link);
	ERR(memfd_create("x", 0x4000), EINVAL);
}
