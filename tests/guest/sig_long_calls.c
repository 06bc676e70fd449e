// So many calls that a kernel may change the text they are made from meanwhile: while a handler's frame waits to go
// back behind a call, while a call waits to be restarted, before and after threads and fork.
#include "t.h"
#include <pthread.h>
enum { MANY = 10000 }; /* more than Umbra's patch=auto waits for */
static int fds[2];
static void calls(int n)
{
	char c;
	for (int i = 0; i < n; i++)
		if (read(-1, &c, 1) != -1 || errno != EBADF) {
			printf("call %d: %s\n", i, strerror(errno));
			exit(1);
		}
}
static void many(int s) { calls(MANY); }
static void many_and_write(int s)
{
	calls(MANY);
	OK(write(fds[1], "x", 1));
}
static void *thread(void *p)
{
	calls(2 * MANY);
	return p;
}
/* Registers that a call preserves, around a kill whose handler makes many calls. */
static void registers(void)
{
	long rax, rbx, r12, r15, pid = getpid();
	__asm__ volatile("mov %5, %%rdi\n mov $0x1111, %%rbx\n mov $0x2222, %%r12\n mov $0x3333, %%r15\n mov %4, %%esi\n"
			 "mov $62, %%eax\n syscall\n mov %%rax, %0\n mov %%rbx, %1\n mov %%r12, %2\n mov %%r15, %3\n"
			 : "=m"(rax), "=m"(rbx), "=m"(r12), "=m"(r15)
			 : "i"(SIGUSR1), "m"(pid)
			 : "rax", "rbx", "r12", "r15", "rdi", "rsi", "rcx", "r11", "memory");
	printf("kill: %ld, %lx %lx %lx\n", rax, rbx, r12, r15);
}
static void in_child(const char *what, void (*f)(void))
{
	fflush(stdout);
	pid_t k = OK(fork());
	if (!k) {
		f();
		fflush(stdout);
		_exit(0);
	}
	int st;
	OK(waitpid(k, &st, 0));
	printf("%s: status %x\n", what, st);
}
static void handler_makes_them(void)
{
	struct sigaction sa = {.sa_handler = many};
	OK(sigaction(SIGUSR1, &sa, NULL));
	OK(raise(SIGUSR1));
	OK(kill(getpid(), SIGUSR1));
}
static void restarted(void)
{
	struct sigaction sa = {.sa_handler = many_and_write, .sa_flags = SA_RESTART};
	OK(sigaction(SIGALRM, &sa, NULL));
	OK(pipe(fds));
	struct itimerval in = {.it_value.tv_usec = 20000};
	OK(setitimer(ITIMER_REAL, &in, NULL));
	char c = 0;
	EQ(read(fds[0], &c, 1), 1);
	printf("read: %c\n", c);
}
static void interrupted(void)
{
	struct sigaction sa = {.sa_handler = many};
	OK(sigaction(SIGALRM, &sa, NULL));
	OK(pipe(fds));
	struct itimerval in = {.it_value.tv_usec = 20000};
	OK(setitimer(ITIMER_REAL, &in, NULL));
	char c = 0;
	ERR(read(fds[0], &c, 1), EINTR);
}
static void threads(void)
{
	pthread_t t[3];
	for (int i = 0; i < 3; i++)
		EQ(pthread_create(&t[i], NULL, thread, NULL), 0);
	calls(2 * MANY);
	for (int i = 0; i < 3; i++)
		EQ(pthread_join(t[i], NULL), 0);
	calls(2 * MANY);
}
static void spawns(void)
{
	pid_t k = OK(vfork());
	if (!k) {
		calls(2 * MANY);
		_exit(3);
	}
	int st;
	OK(waitpid(k, &st, 0));
	printf("vfork: %d\n", WEXITSTATUS(st));
	calls(2 * MANY);
}
int main(void)
{
	struct sigaction sa = {.sa_handler = many};
	OK(sigaction(SIGUSR1, &sa, NULL));
	in_child("threads", threads); /* The first is where call sites are not known yet. */
	in_child("registers", registers);
	in_child("handler", handler_makes_them);
	in_child("restart", restarted);
	in_child("interrupted", interrupted);
	in_child("vfork", spawns);
	registers();
	calls(MANY);
	return 0;
}
