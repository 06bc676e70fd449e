// clone3: sizes checked, pidfd, parent and child tid, exit signal.
#include "t.h"
#include <linux/sched.h>
int main(void)
{
	int pidfd = -1;
	pid_t ptid = 0, *ctid = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct clone_args a = { 0 };
	a.flags = CLONE_PIDFD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID;
	a.pidfd = (uintptr_t)&pidfd;
	a.parent_tid = (uintptr_t)&ptid;
	a.child_tid = (uintptr_t)ctid;
	a.exit_signal = SIGCHLD;
	pid_t k = syscall(SYS_clone3, &a, sizeof a);
	if (k == 0)
		_exit(*ctid == syscall(SYS_gettid) ? 11 : 12);
	CHECK(k > 0);
	EQ(ptid, k);
	struct pollfd f = { pidfd, POLLIN };
	EQ(poll(&f, 1, 5000), 1);
	int st;
	EQ(waitpid(k, &st, 0), k);
	EQ(WEXITSTATUS(st), 11);
	EQ(*ctid, k);
	ERR(syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0), ESRCH);
	ERR(syscall(SYS_clone3, &a, 8), EINVAL);
	ERR(syscall(SYS_clone3, (void *)1, sizeof a), EFAULT);
	ERR(syscall(SYS_clone3, &a, 1 << 20), E2BIG);
	struct clone_args b = { .exit_signal = 100 };
	ERR(syscall(SYS_clone3, &b, sizeof b), EINVAL);
	b = (struct clone_args){ .flags = CLONE_THREAD, .exit_signal = 0 };
	ERR(syscall(SYS_clone3, &b, sizeof b), EINVAL);
	b = (struct clone_args){ .stack = 4096, .exit_signal = SIGCHLD };
	ERR(syscall(SYS_clone3, &b, sizeof b), EINVAL);
	say("clone3 ok");
}
