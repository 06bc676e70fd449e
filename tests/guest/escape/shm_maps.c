// expect: exit 0
// seconds: 60
// More mappings than the host allows a process: every page is still what it was.
#include "../t.h"
int main(void)
{
	int fd = OK(memfd_create("page", 0));
	OK(ftruncate(fd, 8 * PAGE));
	char *all = OK(mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	for (int i = 0; i < 8; i++)
		all[i * PAGE] = 'a' + i;
	char *base = OK(mmap(NULL, 140000 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	int n = 0;
	for (; n < 65000; n++)
		if (mmap(base + n * 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, n * 3 % 8 * PAGE) == MAP_FAILED)
			break;
		else
			CHECK(*(volatile char *)(base + n * 2 * PAGE) == 'a' + n * 3 % 8);
	CHECK(n > 20000);
	for (int i = 0; i < n; i += 7)
		CHECK(*(volatile char *)(base + i * 2 * PAGE) == 'a' + i * 3 % 8);
	IN_CHILD(CHECK(base[2 * PAGE] == 'd'));
	return 0;
}
