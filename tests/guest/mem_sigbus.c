// Touching a mapping past the end of its file: SIGBUS with BUS_ADRERR and the address.
#include "t.h"
#include <setjmp.h>
static sigjmp_buf j;
static siginfo_t si;
static void on(int s, siginfo_t *i, void *u) { si = *i; siglongjmp(j, 1); }
int main(void)
{
	t_write("f", "x");
	int fd = OK(open("f", O_RDWR));
	char *m = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(m != MAP_FAILED);
	t_on_info(SIGBUS, on, 0);
	if (!sigsetjmp(j, 1)) {
		*(volatile char *)(m + PAGE + 123);
		CHECK(0);
	}
	CHECK(si.si_signo == SIGBUS && si.si_code == BUS_ADRERR && si.si_addr == m + PAGE + 123);
	OK(ftruncate(fd, 2 * PAGE));
	m[PAGE + 123] = 5; /* now there is a page */
	OK(ftruncate(fd, 10));
	if (!sigsetjmp(j, 1)) {
		m[PAGE] = 1; /* and gone again */
		CHECK(0);
	}
	CHECK(si.si_addr == m + PAGE);
	/* The kernel meets the same page: EFAULT, no signal. */
	int p[2];
	OK(pipe(p));
	ERR(write(p[1], m + PAGE, 10), EFAULT);
	say("SIGBUS ok");
}
