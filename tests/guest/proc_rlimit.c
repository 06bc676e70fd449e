// getrlimit, setrlimit, prlimit: soft and hard limits, inheritance, NPROC, errors.
#include "t.h"
int main(void)
{
	struct rlimit a = { 100, 200 }, b;
	OK(setrlimit(RLIMIT_NOFILE, &a));
	OK(getrlimit(RLIMIT_NOFILE, &b));
	CHECK(b.rlim_cur == 100 && b.rlim_max == 200);
	a.rlim_cur = 300;
	ERR(setrlimit(RLIMIT_NOFILE, &a), EINVAL);
	IN_CHILD(OK(getrlimit(RLIMIT_NOFILE, &b)); CHECK(b.rlim_cur == 100 && b.rlim_max == 200));
	ERR(getrlimit(99, &b), EINVAL);
	ERR(getrlimit(RLIMIT_NOFILE, (void *)1), EFAULT);
	pid_t k = OK(fork());
	if (!k)
		for (;;)
			pause();
	a = (struct rlimit){ 50, 60 };
	OK(prlimit(k, RLIMIT_NOFILE, &a, &b));
	EQ(b.rlim_cur, 100);
	OK(prlimit(k, RLIMIT_NOFILE, NULL, &b));
	EQ(b.rlim_cur, 50);
	ERR(prlimit(1 << 22, RLIMIT_NOFILE, NULL, &b), ESRCH);
	kill(k, SIGKILL);
	int st;
	EQ(waitpid(k, &st, 0), k);
	OK(getrlimit(RLIMIT_STACK, &b));
	printf("stack %lu\n", b.rlim_cur);
	/* CPU time: SIGXCPU at the soft limit. */
	k = OK(fork());
	if (!k) {
		a = (struct rlimit){ 1, 10 };
		OK(setrlimit(RLIMIT_CPU, &a));
		for (;;)
			;
	}
	EQ(waitpid(k, &st, 0), k);
	printf("cpu limit: signal %d\n", WTERMSIG(st));
}
