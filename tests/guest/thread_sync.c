// Mutexes, condition variables, barriers, read-write locks and semaphores under load.
#include "t.h"
#include <pthread.h>
#include <semaphore.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t b;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static sem_t sem;
static long count, turn, serial, value[2];
static void *work(void *x)
{
	long id = (long)x;
	for (int i = 0; i < 5000; i++) {
		pthread_mutex_lock(&m);
		count++;
		pthread_mutex_unlock(&m);
	}
	for (int i = 0; i < 100; i++) {
		pthread_mutex_lock(&m);
		while (turn % 4 != id)
			pthread_cond_wait(&c, &m);
		turn++;
		pthread_cond_broadcast(&c);
		pthread_mutex_unlock(&m);
	}
	for (int i = 0; i < 50; i++)
		if (pthread_barrier_wait(&b) == PTHREAD_BARRIER_SERIAL_THREAD)
			serial++;
	for (int i = 0; i < 500; i++) {
		if (i % 10 == 0) {
			pthread_rwlock_wrlock(&rw);
			value[0]++;
			value[1]++;
			pthread_rwlock_unlock(&rw);
		} else {
			pthread_rwlock_rdlock(&rw);
			CHECK(value[0] == value[1]);
			pthread_rwlock_unlock(&rw);
		}
	}
	sem_post(&sem);
	return NULL;
}
int main(void)
{
	pthread_t t[4];
	pthread_barrier_init(&b, NULL, 4);
	sem_init(&sem, 0, 0);
	for (long i = 0; i < 4; i++)
		EQ(pthread_create(&t[i], NULL, work, (void *)i), 0);
	for (int i = 0; i < 4; i++)
		EQ(sem_wait(&sem), 0);
	for (int i = 0; i < 4; i++)
		EQ(pthread_join(t[i], NULL), 0);
	printf("count %ld turn %ld serial %ld value %ld\n", count, turn, serial, value[0]);
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += 20000000;
	if (ts.tv_nsec >= 1000000000)
		ts.tv_nsec -= 1000000000, ts.tv_sec++;
	ERR(sem_timedwait(&sem, &ts), ETIMEDOUT);
	EQ(pthread_mutex_lock(&m), 0);
	EQ(pthread_mutex_timedlock(&m, &ts), ETIMEDOUT);
	EQ(pthread_cond_timedwait(&c, &m, &ts), ETIMEDOUT);
	EQ(pthread_mutex_trylock(&m), EBUSY);
}
