// Orphans go to the nearest subreaper, with the exit status kept for it.
#include "t.h"
#include <sys/prctl.h>
int main(void)
{
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	int on = 0, p[2];
	OK(prctl(PR_GET_CHILD_SUBREAPER, &on));
	EQ(on, 1);
	OK(pipe(p));
	pid_t me = getpid(), k = OK(fork());
	if (!k) {
		pid_t mid = getpid();
		pid_t g = OK(fork());
		if (!g) {
			char c;
			close(p[1]);
			EQ(read(p[0], &c, 1), 0);
			while (getppid() == mid)
				sched_yield();
			_exit(getppid() == me ? 21 : 22);
		}
		_exit(0);
	}
	t_reap(k);
	OK(close(p[1]));
	int st;
	pid_t g = OK(wait(&st));
	CHECK(g != k);
	printf("orphan ended with %d\n", WEXITSTATUS(st));
	ERR(wait(&st), ECHILD);
}
