// Terabytes of PROT_NONE and NORESERVE cost nothing until touched.
#include "t.h"
int main(void)
{
	size_t tb = 1UL << 40;
	char *m = mmap(NULL, 8 * tb, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(m != MAP_FAILED);
	EQ(mprotect(m + 3 * tb, 4 * PAGE, PROT_READ | PROT_WRITE), 0);
	strcpy(m + 3 * tb, "far out");
	puts(m + 3 * tb);
	char *n = mmap(NULL, tb, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(n != MAP_FAILED);
	for (int i = 0; i < 100; i++)
		n[i * (tb / 100)] = i;
	for (int i = 0; i < 100; i++)
		EQ(n[i * (tb / 100)], i);
	IN_CHILD(EQ(strcmp(m + 3 * tb, "far out"), 0));
	EQ(munmap(m, 8 * tb), 0);
	EQ(munmap(n, tb), 0);
	say("reservations ok");
}
