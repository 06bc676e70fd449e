// fork, vfork, clone, threads and exec from call sites of the C library, many times and with signals coming in.
// seconds: 60
#include "t.h"
#include <pthread.h>
#include <spawn.h>
extern char **environ;
static volatile int ticks;
static void on(int s) { ticks++; }
static int child(void *x) { return getppid() == (long)x ? 7 : 1; }
static void *thread(void *x)
{
	for (int i = 0; i < 100; i++)
		CHECK(getppid() == (long)x && getpid() > 0);
	return x;
}
static void is(pid_t pid, int code)
{
	int st;
	pid_t r;
	while ((r = waitpid(pid, &st, 0)) < 0 && errno == EINTR) {}
	EQ(r, pid);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == code);
}
int main(int argc, char **argv)
{
	if (argc > 1)
		return 9;
	t_on(SIGALRM, on, SA_RESTART);
	struct itimerval it = { { 0, 900 }, { 0, 900 } };
	OK(setitimer(ITIMER_REAL, &it, NULL));
	static char stack[65536] __attribute__((aligned(16)));
	for (int i = 0; i < 40; i++) {
		pid_t me = getpid(), p = OK(fork());
		if (p == 0)
			_exit(getppid() == me ? 5 : 1);
		is(p, 5);
		p = vfork();
		if (p == 0)
			_exit(6);
		is(p, 6);
		is(OK(clone(child, stack + sizeof stack, SIGCHLD, (void *)(long)me)), 7);
		char *args[] = { "x", "y", NULL };
		EQ(posix_spawn(&p, "/proc/self/exe", NULL, NULL, args, environ), 0);
		is(p, 9);
		pthread_t t[3];
		for (int k = 0; k < 3; k++)
			EQ(pthread_create(&t[k], NULL, thread, (void *)(long)getppid()), 0);
		for (int k = 0; k < 3; k++)
			EQ(pthread_join(t[k], NULL), 0);
	}
	CHECK(ticks > 0);
	say("tasks from everywhere");
}
