// exit_group ends all threads at once; exit of the leader alone does not.
#include "t.h"
#include <pthread.h>
static void *sleeper(void *x) { for (;;) pause(); }
static void *spinner(void *x) { for (;;) ; }
static void *ender(void *x) { t_msleep(10); _exit(33); }
static void *last(void *x)
{
	t_msleep(30);
	say("the leader is gone, a thread goes on");
	_exit(44);
}
int main(void)
{
	pthread_t t;
	int st;
	pid_t k = OK(fork());
	if (!k) {
		for (int i = 0; i < 3; i++)
			pthread_create(&t, NULL, sleeper, NULL);
		pthread_create(&t, NULL, spinner, NULL);
		pthread_create(&t, NULL, ender, NULL);
		for (;;)
			pause();
	}
	EQ(waitpid(k, &st, 0), k);
	EQ(WEXITSTATUS(st), 33);
	k = OK(fork());
	if (!k) {
		pthread_create(&t, NULL, last, NULL);
		syscall(SYS_exit, 1);
	}
	EQ(waitpid(k, &st, 0), k);
	EQ(WEXITSTATUS(st), 44);
	/* A deadly signal to one thread ends all. */
	k = OK(fork());
	if (!k) {
		pthread_create(&t, NULL, sleeper, NULL);
		pthread_kill(t, SIGTERM);
		for (;;)
			pause();
	}
	EQ(waitpid(k, &st, 0), k);
	EQ(WTERMSIG(st), SIGTERM);
	say("exit_group ok");
}
