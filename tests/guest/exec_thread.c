// execve from a thread: the others die, the process keeps its pid, the caller becomes leader.
#include "t.h"
#include <pthread.h>
static void *sleeper(void *x) { for (;;) pause(); }
static void *runner(void *x)
{
	char pid[16];
	snprintf(pid, sizeof pid, "%d", getpid());
	char *av[] = { "x", pid, NULL };
	t_msleep(10);
	execv("/proc/self/exe", av);
	_exit(9);
}
int main(int argc, char **argv)
{
	if (argc > 1) {
		EQ(getpid(), atoi(argv[1]));
		EQ(syscall(SYS_gettid), getpid());
		char b[4096];
		int fd = OK(open("/proc/self/status", O_RDONLY));
		ssize_t n = OK(read(fd, b, sizeof b - 1));
		b[n] = 0;
		CHECK(strstr(b, "\nThreads:\t1\n"));
		say("one thread, the same pid");
		return 0;
	}
	pthread_t t;
	for (int i = 0; i < 3; i++)
		EQ(pthread_create(&t, NULL, sleeper, NULL), 0);
	EQ(pthread_create(&t, NULL, runner, NULL), 0);
	for (;;)
		pause();
}
