// Scheduling calls: affinity, policies, priorities, nice values and yield.
#include "t.h"
int main(void)
{
	cpu_set_t s;
	CPU_ZERO(&s);
	CHECK(syscall(SYS_sched_getaffinity, 0, sizeof s, &s) > 0);
	CHECK(CPU_COUNT(&s) >= 1);
	EQ(sched_setaffinity(0, sizeof s, &s), 0);
	CPU_ZERO(&s);
	ERR(sched_setaffinity(0, sizeof s, &s), EINVAL);
	ERR(syscall(SYS_sched_getaffinity, 0, 1, &s), EINVAL);
	ERR(syscall(SYS_sched_getaffinity, -1, sizeof s, &s), ESRCH);
	ERR(syscall(SYS_sched_setaffinity, -1, sizeof s, &s), ESRCH);
	ERR(sched_getscheduler(-1), EINVAL);
	EQ(sched_getscheduler(0), SCHED_OTHER);
	EQ(sched_get_priority_max(SCHED_FIFO), 99);
	EQ(sched_get_priority_min(SCHED_RR), 1);
	EQ(sched_get_priority_max(SCHED_OTHER), 0);
	ERR(sched_get_priority_max(99), EINVAL);
	struct sched_param p = { 0 };
	EQ(sched_setscheduler(0, SCHED_BATCH, &p), 0);
	EQ(sched_getscheduler(0), SCHED_BATCH);
	EQ(sched_setscheduler(0, SCHED_OTHER, &p), 0);
	p.sched_priority = 5;
	ERR(sched_setscheduler(0, SCHED_OTHER, &p), EINVAL);
	EQ(sched_getparam(0, &p), 0);
	EQ(p.sched_priority, 0);
	EQ(sched_yield(), 0);
	EQ(getpriority(PRIO_PROCESS, 0), 0);
	EQ(nice(5), 5);
	EQ(getpriority(PRIO_PROCESS, 0), 5);
	EQ(nice(100), 19);
	IN_CHILD(EQ(getpriority(PRIO_PROCESS, 0), 19));
	EQ(setpriority(PRIO_PROCESS, 0, 10), geteuid() ? -1 : 0);
	ERR(getpriority(9, 0), EINVAL);
	ERR(getpriority(PRIO_PROCESS, 1 << 22), ESRCH);
	unsigned cpu = 99999, node = 9;
	EQ(syscall(SYS_getcpu, &cpu, &node, NULL), 0);
	CHECK(cpu < 4096 && sched_getcpu() >= 0);
	say("sched ok");
}
