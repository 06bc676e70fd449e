// brk: grows zeroed, shrinks, forgets, and respects RLIMIT_DATA.
#include "t.h"
static char *brk_(void *p) { return (char *)syscall(SYS_brk, p); }
int main(void)
{
	char *a = brk_(0);
	CHECK(brk_(a + 100 * PAGE) == a + 100 * PAGE);
	for (int i = 0; i < 100; i++) {
		CHECK(a[i * PAGE + 64] == 0 || i == 0);
		a[i * PAGE + 64] = i;
	}
	CHECK(brk_(a + 50 * PAGE) == a + 50 * PAGE);
	CHECK(brk_(a + 100 * PAGE) == a + 100 * PAGE);
	EQ(a[49 * PAGE + 64], 49);
	EQ(a[60 * PAGE + 64], 0); /* what was given up comes back as zeros */
	CHECK(brk_(a + 12345) == a + 12345);
	CHECK(brk_((void *)1) == a + 12345); /* refused: the old value */
	CHECK(brk_((void *)-1) == a + 12345);
	struct rlimit rl = { 1 << 20, RLIM_INFINITY };
	OK(setrlimit(RLIMIT_DATA, &rl));
	CHECK(brk_(a + (64 << 20)) == a + 12345);
	CHECK(sbrk(0) != (void *)-1);
	say("brk ok");
}
