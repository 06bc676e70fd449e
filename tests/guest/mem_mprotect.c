// mprotect: splitting, errors, and a handler that repairs and retries.
#include "t.h"
static char *base;
static int faults;
static void on(int s, siginfo_t *i, void *u)
{
	faults++;
	char *page = (char *)((unsigned long)i->si_addr & ~(PAGE - 1));
	EQ(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
}
int main(void)
{
	base = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(base, 1, 64 * PAGE);
	EQ(mprotect(base, 64 * PAGE, PROT_READ), 0);
	t_on_info(SIGSEGV, on, 0);
	for (int i = 0; i < 64; i += 3)
		base[i * PAGE + 10] = i;
	printf("%d faults repaired\n", faults);
	for (int i = 0; i < 64; i++)
		CHECK(base[i * PAGE + 10] == (i % 3 ? 1 : i) && base[i * PAGE] == 1);
	EQ(mprotect(base, PAGE, PROT_NONE), 0);
	EQ(mprotect(base, PAGE, PROT_READ), 0);
	EQ(base[0], 1); /* the content stays */
	ERR(mprotect(base + 1, PAGE, PROT_READ), EINVAL);
	EQ(munmap(base + 10 * PAGE, PAGE), 0);
	ERR(mprotect(base, 64 * PAGE, PROT_READ), ENOMEM);
	ERR(mprotect(base, PAGE, 0x100), EINVAL);
	EQ(mprotect(base, 0, PROT_READ), 0);
	/* Code written at run time runs after mprotect. */
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
	char *x = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(x, code, sizeof code);
	EQ(mprotect(x, PAGE, PROT_READ | PROT_EXEC), 0);
	EQ(((int (*)(void))x)(), 42);
	say("mprotect ok");
}
