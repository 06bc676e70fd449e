// fork and wait4: statuses, WNOHANG, rusage, ECHILD, waiting for groups.
#include "t.h"
int main(void)
{
	int st;
	ERR(wait(&st), ECHILD);
	pid_t k = OK(fork());
	if (!k)
		_exit(300); /* only the low byte counts */
	EQ(waitpid(k, &st, 0), k);
	printf("exited %d status %d\n", WIFEXITED(st), WEXITSTATUS(st));
	k = OK(fork());
	if (!k) {
		kill(getpid(), SIGTERM);
		_exit(0);
	}
	struct rusage ru;
	memset(&ru, 0xff, sizeof ru);
	EQ(wait4(-1, &st, 0, &ru), k);
	printf("signaled %d by %d\n", WIFSIGNALED(st), WTERMSIG(st));
	CHECK(ru.ru_utime.tv_sec >= 0 && ru.ru_utime.tv_sec < 10);
	int p[2];
	char c;
	OK(pipe(p));
	k = OK(fork());
	if (!k) {
		close(p[1]);
		_exit(read(p[0], &c, 1));
	}
	EQ(waitpid(k, &st, WNOHANG), 0);
	EQ(waitpid(0, &st, WNOHANG), 0);
	ERR(waitpid(-getpid() - 100000, &st, WNOHANG), ECHILD);
	OK(close(p[1]));
	EQ(waitpid(-getpgrp(), &st, 0), k);
	EQ(st, 0);
	ERR(waitpid(k, &st, 0), ECHILD);
	ERR(waitpid(getpid(), &st, 0), ECHILD);
	ERR(waitpid(-1, &st, 0x100), EINVAL);
	/* A zombie stays until asked for, and takes signals without a word. */
	k = OK(fork());
	if (!k)
		_exit(1);
	t_until(k, 'Z');
	EQ(kill(k, SIGKILL), 0);
	EQ(kill(k, 0), 0);
	EQ(waitpid(k, &st, 0), k);
	EQ(WEXITSTATUS(st), 1);
	ERR(kill(k, 0), ESRCH);
	say("wait ok");
}
