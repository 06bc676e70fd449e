// Scheduling attributes and I/O priorities, set and read back.
#include "t.h"
struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};
int main(void)
{
	struct attr a = {0};
	OK(syscall(SYS_sched_getattr, 0, &a, 48, 0));
	EQ(a.size, 48);
	EQ(a.policy, SCHED_OTHER);
	int nice_now = a.nice;
	EQ(nice_now, getpriority(PRIO_PROCESS, 0));
	ERR(syscall(SYS_sched_getattr, 0, &a, 47, 0), EINVAL);
	ERR(syscall(SYS_sched_getattr, 0, &a, 48, 1), EINVAL);
	ERR(syscall(SYS_sched_getattr, -1, &a, 48, 0), EINVAL);
	ERR(syscall(SYS_sched_getattr, 0x3fffffff, &a, 48, 0), ESRCH);
	a = (struct attr){.size = 48, .policy = SCHED_BATCH, .nice = nice_now + 3};
	OK(syscall(SYS_sched_setattr, 0, &a, 0));
	EQ(sched_getscheduler(0), SCHED_BATCH);
	EQ(getpriority(PRIO_PROCESS, 0), nice_now + 3);
	a.policy = 99;
	ERR(syscall(SYS_sched_setattr, 0, &a, 0), EINVAL);
	a.policy = SCHED_FIFO, a.priority = 0; // real-time policies want a priority of 1 to 99
	ERR(syscall(SYS_sched_setattr, 0, &a, 0), EINVAL);
	a.policy = SCHED_OTHER, a.priority = 1; // and the others none
	ERR(syscall(SYS_sched_setattr, 0, &a, 0), EINVAL);
	ERR(syscall(SYS_sched_setattr, 0, NULL, 0), EINVAL);

	struct sched_param p = {.sched_priority = 0};
	OK(sched_setscheduler(0, SCHED_OTHER, &p));
	OK(sched_setparam(0, &p));
	p.sched_priority = 5;
	ERR(sched_setparam(0, &p), EINVAL);
	struct timespec slice;
	OK(sched_rr_get_interval(0, &slice));
	EQ(slice.tv_sec, 0);
	ERR(sched_rr_get_interval(-1, &slice), EINVAL);

	EQ(syscall(SYS_ioprio_get, 1, 0) >> 13 <= 2, 1);
	OK(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6));
	EQ(syscall(SYS_ioprio_get, 1, 0), 2 << 13 | 6);
	OK(syscall(SYS_ioprio_set, 1, getpid(), 3 << 13));
	EQ(syscall(SYS_ioprio_get, 1, getpid()), 3 << 13);
	IN_CHILD(EQ(syscall(SYS_ioprio_get, 1, 0), 3 << 13)); // inherited
	ERR(syscall(SYS_ioprio_set, 1, 0, 5 << 13), EINVAL);
	ERR(syscall(SYS_ioprio_set, 9, 0, 2 << 13), EINVAL);
	ERR(syscall(SYS_ioprio_get, 1, 0x3fffffff), ESRCH);
	say("sched attr ok");
}
