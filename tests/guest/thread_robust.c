// Robust mutexes: a thread and a process that die holding one leave EOWNERDEAD.
#include "t.h"
#include <pthread.h>
static pthread_mutex_t *m;
static void *die(void *x) { pthread_mutex_lock(m); return NULL; }
int main(void)
{
	m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(m, &a);
	pthread_t t;
	EQ(pthread_create(&t, NULL, die, NULL), 0);
	EQ(pthread_join(t, NULL), 0);
	EQ(pthread_mutex_lock(m), EOWNERDEAD);
	EQ(pthread_mutex_consistent(m), 0);
	EQ(pthread_mutex_unlock(m), 0);
	pid_t k = OK(fork());
	if (!k) {
		pthread_mutex_lock(m);
		kill(getpid(), SIGKILL);
	}
	int st;
	EQ(waitpid(k, &st, 0), k);
	EQ(pthread_mutex_lock(m), EOWNERDEAD);
	EQ(pthread_mutex_unlock(m), 0); /* not made consistent: lost for good */
	EQ(pthread_mutex_lock(m), ENOTRECOVERABLE);
	/* A waiter is woken by the death of the holder. */
	pthread_mutex_init(m, &a);
	int p[2];
	OK(pipe(p));
	k = OK(fork());
	if (!k) {
		char c;
		pthread_mutex_lock(m);
		close(p[1]);
		read(p[0], &c, 1);
		t_msleep(20);
		_exit(0);
	}
	while (pthread_mutex_trylock(m) == 0) {
		pthread_mutex_unlock(m);
		sched_yield();
	}
	OK(close(p[1]));
	EQ(pthread_mutex_lock(m), EOWNERDEAD);
	EQ(waitpid(k, &st, 0), k);
	void *head;
	size_t len;
	EQ(syscall(SYS_get_robust_list, 0, &head, &len), 0);
	CHECK(head && len == 24);
	ERR(syscall(SYS_set_robust_list, head, 5), EINVAL);
	say("robust ok");
}
