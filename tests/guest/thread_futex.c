// futex: wait and wake counts, EAGAIN, timeouts, requeue, bitsets, WAKE_OP, errors.
#include "t.h"
#include <linux/futex.h>
#include <pthread.h>
static uint32_t f1, f2;
static int awake;
static long fx(uint32_t *u, int op, uint32_t v, const void *t, uint32_t *u2, uint32_t v3) { return syscall(SYS_futex, u, op, v, t, u2, v3); }
static void *waiter(void *x)
{
	EQ(fx(&f1, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, (uint32_t)(long)x), 0);
	__atomic_add_fetch(&awake, 1, __ATOMIC_SEQ_CST);
	return NULL;
}
static pthread_t t[6];
static void start(int n, long mask)
{
	awake = 0;
	for (int i = 0; i < n; i++)
		EQ(pthread_create(&t[i], NULL, waiter, (void *)(mask ? mask : 1L << i)), 0);
}
/* Wakes nobody and moves nobody, but tells how many wait: by requeueing onto itself. */
static void settle(void) { t_msleep(60); }
int main(void)
{
	struct timespec ts = { 0, 20000000 };
	ERR(fx(&f1, FUTEX_WAIT, 1, NULL, NULL, 0), EAGAIN);
	double a = t_now();
	ERR(fx(&f1, FUTEX_WAIT, 0, &ts, NULL, 0), ETIMEDOUT);
	CHECK(t_now() - a >= 0.019);
	EQ(fx(&f1, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
	start(5, ~0U);
	settle();
	EQ(fx(&f1, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0), 2);
	EQ(fx(&f1, FUTEX_REQUEUE_PRIVATE, 1, (void *)10L, &f2, 0), 3 /* woken and moved */);
	EQ(fx(&f1, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 0);
	EQ(fx(&f2, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 2);
	for (int i = 0; i < 5; i++)
		EQ(pthread_join(t[i], NULL), 0);
	EQ(awake, 5);
	start(4, ~0U);
	settle();
	ERR(fx(&f1, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)10L, &f2, 5), EAGAIN);
	EQ(fx(&f1, FUTEX_CMP_REQUEUE_PRIVATE, 0, (void *)1L, &f2, 0), 1);
	f2 = 7;
	/* f2 = 7 + 1; the old value 7 > 5, so f2's waiter is woken too */
	EQ(fx(&f1, FUTEX_WAKE_OP_PRIVATE, 1, (void *)10L, &f2, FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GT, 5)), 2);
	EQ(f2, 8);
	EQ(fx(&f1, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 2);
	for (int i = 0; i < 4; i++)
		EQ(pthread_join(t[i], NULL), 0);
	start(4, 0);
	settle();
	EQ(fx(&f1, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 5), 2);
	EQ(fx(&f1, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 5), 0);
	EQ(fx(&f1, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 2);
	for (int i = 0; i < 4; i++)
		EQ(pthread_join(t[i], NULL), 0);
	/* WAIT_BITSET takes an absolute time. */
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ERR(fx(&f1, FUTEX_WAIT_BITSET, 0, &ts, NULL, ~0U), ETIMEDOUT);
	clock_gettime(CLOCK_REALTIME, &ts);
	ERR(fx(&f1, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &ts, NULL, ~0U), ETIMEDOUT);
	ERR(fx(&f1, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0), EINVAL);
	ERR(fx((uint32_t *)((char *)&f1 + 1), FUTEX_WAIT, 0, NULL, NULL, 0), EINVAL);
	ERR(fx((uint32_t *)16, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
	ERR(fx(&f1, 99, 0, NULL, NULL, 0), ENOSYS);
	ts.tv_nsec = 1000000000;
	ERR(fx(&f1, FUTEX_WAIT, 0, &ts, NULL, 0), EINVAL);
	say("futex ok");
}
