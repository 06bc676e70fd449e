// A thousand mappings of alternating protection, then a walk through /proc/self/maps.
#include "t.h"
int main(void)
{
	int n = 1000;
	char *m = mmap(NULL, 2 * n * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	for (int i = 0; i < n; i++) {
		EQ(mprotect(m + 2 * i * PAGE, PAGE, PROT_READ | PROT_WRITE), 0);
		m[2 * i * PAGE] = i;
	}
	FILE *f = fopen("/proc/self/maps", "r");
	CHECK(f);
	char line[500], perms[8];
	unsigned long a, b, last = 0;
	int mine = 0;
	while (fgets(line, sizeof line, f)) {
		EQ(sscanf(line, "%lx-%lx %7s", &a, &b, perms), 3);
		CHECK(a >= last && b > a);
		last = b;
		if ((char *)a >= m && (char *)b <= m + 2 * n * PAGE) {
			EQ(strcmp(perms, mine % 2 ? "r--p" : "rw-p"), 0);
			mine++;
		}
	}
	CHECK(mine >= 2 * n - 1);
	for (int i = 0; i < n; i++)
		EQ(m[2 * i * PAGE], (char)i);
	EQ(mprotect(m, 2 * n * PAGE, PROT_READ), 0); /* one again */
	EQ(munmap(m, 2 * n * PAGE), 0);
	say("many areas ok");
}
