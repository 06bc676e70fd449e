// waitid: every kind of child state with its siginfo, WNOWAIT, WCONTINUED, P_PIDFD.
#include "t.h"
static void show(const char *what, siginfo_t *i, pid_t k)
{
	printf("%s: signo %d code %d status %d own %d uid %d\n", what, i->si_signo, i->si_code, i->si_status,
	       i->si_pid == k, i->si_uid == getuid());
}
int main(void)
{
	siginfo_t i = { 0 };
	pid_t k = OK(fork());
	if (!k)
		for (;;)
			pause();
	EQ(waitid(P_PID, k, &i, WEXITED | WNOHANG), 0);
	EQ(i.si_pid, 0);
	kill(k, SIGSTOP);
	EQ(waitid(P_PID, k, &i, WSTOPPED | WNOWAIT), 0);
	show("stopped, looked at", &i, k);
	EQ(waitid(P_PID, k, &i, WSTOPPED), 0);
	show("stopped", &i, k);
	i.si_pid = 0;
	EQ(waitid(P_PID, k, &i, WSTOPPED | WNOHANG), 0);
	EQ(i.si_pid, 0);
	kill(k, SIGCONT);
	EQ(waitid(P_ALL, 0, &i, WCONTINUED), 0);
	show("continued", &i, k);
	int fd = syscall(SYS_pidfd_open, k, 0);
	CHECK(fd >= 0);
	kill(k, SIGKILL);
	EQ(waitid(P_PIDFD, fd, &i, WEXITED | WNOWAIT), 0);
	show("killed, looked at", &i, k);
	EQ(waitid(P_PGID, getpgrp(), &i, WEXITED), 0);
	show("killed", &i, k);
	ERR(waitid(P_ALL, 0, &i, WEXITED), ECHILD);
	ERR(waitid(P_ALL, 0, &i, 0), EINVAL);
	ERR(waitid(9, 0, &i, WEXITED), EINVAL);
	k = OK(fork());
	if (!k)
		_exit(9);
	EQ(waitid(P_PID, k, NULL, WEXITED), 0);
	/* It ends when it is told to: else it could before its going on is looked at. */
	int p[2], st;
	char c;
	OK(pipe(p));
	k = OK(fork());
	if (!k) {
		kill(getpid(), SIGSTOP);
		_exit(read(p[0], &c, 1) == 1 ? 7 : 8);
	}
	EQ(waitpid(k, &st, WUNTRACED), k);
	printf("stopped %d by %d\n", WIFSTOPPED(st), WSTOPSIG(st));
	kill(k, SIGCONT);
	EQ(waitpid(k, &st, WCONTINUED), k);
	printf("continued %d\n", WIFCONTINUED(st));
	EQ(write(p[1], "x", 1), 1);
	EQ(waitpid(k, &st, 0), k);
	EQ(WEXITSTATUS(st), 7);
}
