// A GS base of the program's own survives system calls, in one thread and beside others.
#include "t.h"
#include <asm/prctl.h>
#include <pthread.h>
static volatile int stop;
static volatile long calls;
static unsigned long mem[4] = { 11, 22, 33, 44 };
static void *other(void *x)
{
	while (!stop) {
		EQ(getppid(), (long)x);
		calls++;
	}
	return NULL;
}
static unsigned long gs8(void)
{
	unsigned long v;
	__asm__ volatile("mov %%gs:8,%0" : "=r"(v));
	return v;
}
static void *own(void *x)
{
	OK(syscall(SYS_arch_prctl, ARCH_SET_GS, mem + (long)x));
	for (int i = 0; i < 3000; i++) {
		getppid();
		EQ(gs8(), mem[(long)x + 1]);
	}
	sched_yield();
	EQ(gs8(), mem[(long)x + 1]);
	return NULL;
}
int main(void)
{
	pthread_t t, u[3];
	unsigned long gs = 1;
	OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
	EQ(gs, 0);
	EQ(pthread_create(&t, NULL, other, (void *)(long)getppid()), 0);
	t_msleep(5);
	for (long i = 0; i < 3; i++)
		EQ(pthread_create(&u[i], NULL, own, (void *)i), 0);
	for (int i = 0; i < 3; i++)
		EQ(pthread_join(u[i], NULL), 0);
	OK(syscall(SYS_arch_prctl, ARCH_SET_GS, mem));
	IN_CHILD(EQ(gs8(), 22); getppid(); EQ(gs8(), 22));
	EQ(gs8(), 22);
	stop = 1;
	EQ(pthread_join(t, NULL), 0);
	CHECK(calls > 0);
	OK(syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
	OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
	EQ(gs, 0);
	say("gs kept");
}
