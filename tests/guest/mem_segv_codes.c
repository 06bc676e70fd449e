// SIGSEGV codes and addresses: nothing mapped, no permission, non-canonical.
#include "t.h"
#include <setjmp.h>
#include <ucontext.h>
static sigjmp_buf j;
static siginfo_t si;
static unsigned long err;
static void on(int s, siginfo_t *i, void *u)
{
	si = *i;
	err = ((ucontext_t *)u)->uc_mcontext.gregs[REG_ERR];
	siglongjmp(j, 1);
}
#define TRY(what, body) do { if (!sigsetjmp(j, 1)) { body; puts("survived"); } else \
	printf("%s: signal %d code %d err %lx\n", what, si.si_signo, si.si_code, err); } while (0)
int main(void)
{
	t_on_info(SIGSEGV, on, 0);
	char *m = mmap(NULL, 3 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(*(volatile char *)m == 0);
	EQ(mprotect(m + PAGE, PAGE, PROT_NONE), 0);
	EQ(munmap(m + 2 * PAGE, PAGE), 0);
	TRY("write to read-only", *(volatile char *)(m + 5) = 1);
	CHECK(si.si_addr == m + 5);
	TRY("read from none", *(volatile char *)(m + PAGE));
	CHECK(si.si_addr == m + PAGE);
	TRY("read from hole", *(volatile char *)(m + 2 * PAGE + 9));
	CHECK(si.si_addr == m + 2 * PAGE + 9);
	TRY("null", *(volatile char *)8);
	CHECK(si.si_addr == (void *)8);
	TRY("non-canonical", *(volatile char *)0x8000000000000000UL);
	CHECK(si.si_addr == 0);
	TRY("kernel half", *(volatile char *)0xffffffff81000000UL);
	TRY("execute data", ((void (*)(void))m)());
	CHECK(si.si_addr == m);
	TRY("jump to nowhere", ((void (*)(void))16)());
	CHECK(si.si_addr == (void *)16);
}
