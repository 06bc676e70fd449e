// A raw clone thread: CLONE_SETTLS, CHILD_SETTID, CHILD_CLEARTID with the wake-up.
#include "t.h"
#include <linux/futex.h>
static int cleared = 1, settid;
static char stack[32768] __attribute__((aligned(16)));
static int child(void *x)
{
	if (getpid() == syscall(SYS_gettid))
		syscall(SYS_exit_group, 9);
	syscall(SYS_exit, 0);
	return 0;
}
int main(void)
{
	pid_t ptid = 0;
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
		    CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | CLONE_PARENT_SETTID;
	settid = 1;
	pid_t k = OK(clone(child, stack + sizeof stack, flags, NULL, &ptid, NULL, &settid));
	EQ(ptid, k);
	int v;
	while ((v = __atomic_load_n(&settid, __ATOMIC_ACQUIRE)) != 0)
		syscall(SYS_futex, &settid, FUTEX_WAIT, v, NULL, NULL, 0);
	printf("word cleared %d\n", settid == 0);
	/* The word is cleared on the thread's way out: its id is there a little longer. */
	while (syscall(SYS_tgkill, getpid(), k, 0) == 0)
		sched_yield();
	ERR(syscall(SYS_tgkill, getpid(), k, 0), ESRCH);
	EQ(syscall(SYS_set_tid_address, &cleared), syscall(SYS_gettid));
	int st;
	ERR(waitpid(k, &st, __WALL), ECHILD); /* threads are nobody's children */
}
