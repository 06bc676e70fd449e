// mincore tells touched pages from untouched ones; mlock fills them.
#include "t.h"
int main(void)
{
	unsigned char v[8];
	char *m = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	m[0] = 1;
	EQ(mincore(m, PAGE, v), 0);
	EQ(v[0] & 1, 1);
	EQ(mlock(m, 8 * PAGE), 0);
	EQ(mincore(m, 8 * PAGE, v), 0);
	for (int i = 0; i < 8; i++)
		EQ(v[i] & 1, 1);
	EQ(munlock(m, 8 * PAGE), 0);
	ERR(mincore(m + 1, PAGE, v), EINVAL);
	ERR(mincore(m, PAGE, (void *)1), EFAULT);
	EQ(munmap(m + PAGE, PAGE), 0);
	ERR(mincore(m, 8 * PAGE, v), ENOMEM);
	ERR(mlock(m, 8 * PAGE), ENOMEM);
	EQ(mlockall(MCL_CURRENT), 0);
	EQ(munlockall(), 0);
	ERR(mlockall(0), EINVAL);
	say("mincore ok");
}
