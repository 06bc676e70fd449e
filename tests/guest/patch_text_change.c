// A program that changes its own text sees and executes what it wrote; one that copies its text may run the copy.
#include "t.h"
#include <ucontext.h>
__asm__(".section .text.own,\"ax\",@progbits\n.balign 4096\n.globl page_a, page_b\n"
	".type page_a,@function\npage_a: mov $39,%eax\n syscall\n ret\n .size page_a,.-page_a\n"
	".balign 4096\n"
	".type page_b,@function\npage_b: mov $39,%eax\n syscall\n ret\n .size page_b,.-page_b\n"
	".balign 4096\n.text\n");
long page_a(void);
long page_b(void);
static const unsigned char original[8] = { 0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3 };
static volatile long at;
static volatile int stop;
static volatile long calls;
static void on(int s, siginfo_t *i, void *u)
{
	at = ((ucontext_t *)u)->uc_mcontext.gregs[REG_RIP];
}
static void *caller(void *x)
{
	while (!stop) {
		long r = page_b();
		CHECK(r == getpid() || r == getppid());
		calls++;
	}
	return NULL;
}
#include <pthread.h>
int main(void)
{
	unsigned char *a = (unsigned char *)page_a, *b = (unsigned char *)page_b;
	/* A copy in place of the text: as programs do it that want it on other pages. */
	EQ(page_a(), getpid());
	void *copy = OK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	memcpy(copy, a, PAGE);
	OK(mprotect(copy, PAGE, PROT_READ | PROT_EXEC));
	CHECK(mremap(copy, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a) == a);
	EQ(page_a(), getpid());
	t_on_info(SIGALRM, on, 0);
	struct itimerval it = { { 0, 300 }, { 0, 300 } }, off = { 0 };
	OK(setitimer(ITIMER_REAL, &it, NULL));
	for (double end = t_now() + 0.1; t_now() < end;)
		EQ(page_a(), getpid());
	OK(setitimer(ITIMER_REAL, &off, NULL));
	/* A child changes it, with a thread that calls all the time; the parent does not notice. */
	IN_CHILD(
		pthread_t t;
		OK(pthread_create(&t, NULL, caller, NULL) ? -1 : 0);
		while (!calls)
			t_msleep(1);
		OK(mprotect(b, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
		EQ(memcmp(b, original, 8), 0);
		b[1] = SYS_getppid;
		EQ(page_b(), getppid());
		OK(mprotect(b, PAGE, PROT_READ | PROT_EXEC));
		EQ(page_b(), getppid());
		long before = calls;
		while (calls == before)
			t_msleep(1);
		stop = 1;
		OK(pthread_join(t, NULL) ? -1 : 0);
	);
	EQ(page_b(), getpid());
	/* Through /proc, as a debugger. */
	int fd = OK(open("/proc/self/mem", O_RDWR));
	unsigned char ppid = SYS_getppid;
	EQ(pwrite(fd, &ppid, 1, (long)b + 1), 1);
	EQ(page_b(), getppid());
	EQ(b[1], SYS_getppid);
	EQ(b[5], 0x0f);
	say("text is what was written");
}
