// Signals and threads: pthread_kill, process signals go to a thread that takes them, masks per thread.
#include "t.h"
#include <pthread.h>
static pid_t tid[2];
static volatile pid_t got;
static volatile int ready;
static void on(int s) { got = syscall(SYS_gettid); }
static void *work(void *x)
{
	long i = (long)x;
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGUSR2);
	if (i == 0)
		pthread_sigmask(SIG_BLOCK, &s, NULL);
	else
		pthread_sigmask(SIG_UNBLOCK, &s, NULL);
	tid[i] = syscall(SYS_gettid);
	__atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}
int main(void)
{
	pthread_t t[2];
	t_on(SIGUSR1, on, 0);
	t_on(SIGUSR2, on, 0);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGUSR2);
	OK(sigprocmask(SIG_BLOCK, &s, NULL));
	for (long i = 0; i < 2; i++)
		EQ(pthread_create(&t[i], NULL, work, (void *)i), 0);
	while (ready < 2)
		sched_yield();
	for (int i = 0; i < 50; i++) {
		got = 0;
		kill(getpid(), SIGUSR1); /* only thread 1 has it open */
		while (!got)
			sched_yield();
		EQ(got, tid[1]);
	}
	got = 0;
	EQ(pthread_kill(t[1], SIGUSR2), 0);
	while (!got)
		sched_yield();
	EQ(got, tid[1]);
	EQ(pthread_kill(t[0], SIGUSR2), 0); /* blocked there: stays pending there */
	t_msleep(10);
	EQ(got, tid[1]);
	sigset_t p;
	OK(sigpending(&p));
	EQ(sigismember(&p, SIGUSR2), 0);
	say("thread signals ok");
}
