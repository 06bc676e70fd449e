// One thread waits, others write and change the set; epoll_pwait with a mask.
#include "t.h"
#include <pthread.h>
#include <sys/epoll.h>
static int e, p[2], q[2];
static void *later(void *x)
{
	t_msleep(20);
	struct epoll_event ev = { EPOLLIN, { .fd = 7 } };
	EQ(epoll_ctl(e, EPOLL_CTL_ADD, q[0], &ev), 0); /* readable already */
	return x;
}
static volatile int sigs;
static void on(int s) { sigs++; }
int main(void)
{
	e = OK(epoll_create1(0));
	OK(pipe(p));
	OK(pipe(q));
	EQ(write(q[1], "x", 1), 1);
	pthread_t t;
	EQ(pthread_create(&t, NULL, later, NULL), 0);
	struct epoll_event out;
	EQ(epoll_wait(e, &out, 1, 5000), 1);
	EQ(out.data.fd, 7);
	EQ(pthread_join(t, NULL), 0);
	EQ(epoll_ctl(e, EPOLL_CTL_DEL, q[0], NULL), 0);
	double a = t_now();
	EQ(epoll_wait(e, &out, 1, 30), 0);
	CHECK(t_now() - a >= 0.029);
	sigset_t s, none;
	sigemptyset(&none);
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &s, NULL));
	t_on(SIGUSR1, on, 0);
	raise(SIGUSR1);
	ERR(epoll_pwait(e, &out, 1, 5000, &none), EINTR);
	EQ(sigs, 1);
	say("threads ok");
}
