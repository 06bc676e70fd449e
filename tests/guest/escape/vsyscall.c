// expect: exit 0
// A call into the vsyscall page: a right answer, ENOSYS or a signal; never the host's time unasked.
#include "../t.h"
#include <setjmp.h>
static sigjmp_buf j;
static void on(int s) { siglongjmp(j, s); }
int main(void)
{
	t_on(SIGSEGV, on, 0);
	t_on(SIGSYS, on, 0);
	for (int i = 0; i < 3; i++)
		if (!sigsetjmp(j, 1)) {
			struct timeval tv = { 0 };
			((long (*)(void *, void *))(0xffffffffff600000UL + 0x400 * i))(i == 0 ? (void *)&tv : NULL, NULL);
		}
	/* In the middle of an entry, and reading the page. */
	if (!sigsetjmp(j, 1))
		((void (*)(void))0xffffffffff600009UL)();
	if (!sigsetjmp(j, 1))
		*(volatile char *)0xffffffffff600000UL;
	CHECK(time(NULL) > 1700000000);
	return 0;
}
