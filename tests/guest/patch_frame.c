// What a handler sees of a thread at a system call: the address of that call, never one outside of the program.
#include "t.h"
#include <sys/auxv.h>
#include <ucontext.h>
/* Call sites of two shapes. Labels inside would be entries, so offsets are used: the call of the first is at 5, of
 * the second at 2. */
__asm__(".text\n.globl by_number, by_zero\n"
	".type by_number,@function\nby_number: mov $39,%eax\n syscall\n ret\n .size by_number,.-by_number\n"
	".type by_zero,@function\nby_zero: xor %eax,%eax\n syscall\n cmp $-4096,%rax\n ja 1f\n ret\n"
	"1: neg %rax\n neg %rax\n ret\n .size by_zero,.-by_zero\n");
long by_number(void);
long by_zero(int fd, void *to, long n);
extern char __executable_start, etext;
static volatile unsigned long rip, hits, outside, in_call;
static int p[2];
static void on(int s, siginfo_t *i, void *u)
{
	rip = ((ucontext_t *)u)->uc_mcontext.gregs[REG_RIP];
	hits++;
	/* t_now may be in the vDSO. */
	outside += rip - getauxval(AT_SYSINFO_EHDR) >= 2 * PAGE &&
		   (rip < (unsigned long)&__executable_start || rip >= (unsigned long)&etext);
	in_call += rip >= (unsigned long)by_number && rip < (unsigned long)by_number + 8;
	if (s == SIGUSR1)
		OK(write(p[1], "x", 1));
}
static void interrupt(int s)
{
	pid_t me = getpid();
	if (OK(fork()) == 0) {
		t_until(me, 'S');
		kill(me, s);
		_exit(0);
	}
}
int main(void)
{
	char c;
	OK(pipe(p));
	t_on_info(SIGALRM, on, 0);
	t_on_info(SIGUSR1, on, SA_RESTART);
	t_on_info(SIGUSR2, on, 0);
	struct itimerval it = { { 0, 500 }, { 0, 500 } }, off = { 0 };
	OK(setitimer(ITIMER_REAL, &it, NULL));
	double end = t_now() + 0.3;
	while (t_now() < end || hits < 50)
		for (int i = 0; i < 1000; i++)
			by_number();
	OK(setitimer(ITIMER_REAL, &off, NULL));
	EQ(outside, 0);
	CHECK(in_call > 0);
	/* Interrupted for good: behind the call. To be repeated: at the call. */
	interrupt(SIGUSR2);
	EQ(by_zero(p[0], &c, 1), -EINTR);
	EQ(rip - (unsigned long)by_zero, 4);
	OK(wait(NULL));
	interrupt(SIGUSR1);
	EQ(by_zero(p[0], &c, 1), 1);
	EQ(rip - (unsigned long)by_zero, 2);
	OK(wait(NULL));
	/* The C library's. */
	unsigned long before = outside;
	interrupt(SIGUSR2);
	ERR(read(p[0], &c, 1), EINTR);
	OK(wait(NULL));
	interrupt(SIGUSR2);
	struct timespec t = { 100, 0 }, left;
	ERR(nanosleep(&t, &left), EINTR);
	CHECK(left.tv_sec >= 90);
	OK(wait(NULL));
	interrupt(SIGUSR1);
	EQ(read(p[0], &c, 1), 1);
	OK(wait(NULL));
	EQ(raise(SIGUSR2), 0);
	EQ(outside, before);
	say("addresses of calls are right");
}
