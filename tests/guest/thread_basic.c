// pthreads: create, join, detach, thread-local storage, 64 at once.
#include "t.h"
#include <pthread.h>
static __thread int tls = 7;
static pthread_key_t key;
static int destroyed;
static void gone(void *x) { __atomic_add_fetch(&destroyed, 1, __ATOMIC_SEQ_CST); }
static void *work(void *x)
{
	long n = (long)x;
	CHECK(tls == 7);
	tls = n;
	pthread_setspecific(key, (void *)(n + 1));
	sched_yield();
	CHECK(tls == n && pthread_getspecific(key) == (void *)(n + 1));
	return (void *)(n * n);
}
int main(void)
{
	pthread_t t[64];
	void *r;
	long sum = 0;
	EQ(pthread_key_create(&key, gone), 0);
	for (long i = 0; i < 64; i++)
		EQ(pthread_create(&t[i], NULL, work, (void *)i), 0);
	for (int i = 0; i < 64; i++) {
		EQ(pthread_join(t[i], &r), 0);
		sum += (long)r;
	}
	printf("sum %ld, tls %d, destroyed %d\n", sum, tls, destroyed);
	for (int i = 0; i < 300; i++) {
		EQ(pthread_create(&t[0], NULL, work, (void *)1), 0);
		EQ(pthread_join(t[0], NULL), 0);
	}
	CHECK(syscall(SYS_gettid) == getpid());
}
