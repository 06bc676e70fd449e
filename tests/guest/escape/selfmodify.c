// expect: exit 0
// A system call instruction written, overwritten and raced by another thread stays the guest's.
#include "../t.h"
#include <pthread.h>
static unsigned char *c;
static volatile int stop;
static void *writer(void *x)
{
	while (!stop) {
		c[5] = 0x0f;
		c[6] = 0x05; /* syscall */
		c[5] = 0x90;
		c[6] = 0x90; /* nop nop */
	}
	return NULL;
}
static void on(int s) {}
static void ill(int s, siginfo_t *i, void *u) { ((greg_t *)((ucontext_t *)u)->uc_mcontext.gregs)[REG_RIP] = (long)(c + 7); }
int main(void)
{
	c = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static const unsigned char code[] = { 0xb8, SYS_getppid, 0, 0, 0, 0x90, 0x90, 0xc3 };
	memcpy(c, code, sizeof code);
	t_on_info(SIGILL, ill, 0);
	t_on_info(SIGSEGV, ill, 0);
	pthread_t t;
	EQ(pthread_create(&t, NULL, writer, NULL), 0);
	double end = t_now() + 0.2;
	while (t_now() < end)
		((long (*)(void))c)();
	stop = 1;
	pthread_join(t, NULL);
	CHECK(getppid() >= 0);
	return 0;
}
