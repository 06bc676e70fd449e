// POSIX shared memory in /dev/shm between unrelated mappings.
#include "t.h"
int main(void)
{
	char name[64];
	snprintf(name, sizeof name, "/t-%d", getpid());
	int fd = OK(shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600));
	OK(ftruncate(fd, PAGE));
	int *a = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	IN_CHILD(
		int f = OK(shm_open(name, O_RDWR, 0));
		int *b = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
		CHECK(b != MAP_FAILED);
		b[10] = 4711);
	EQ(a[10], 4711);
	OK(shm_unlink(name));
	ERR(shm_open(name, O_RDWR, 0), ENOENT);
	say("shm ok");
}
