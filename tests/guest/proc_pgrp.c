// Process groups and sessions: setpgid and setsid with each errno, kill to groups.
#include "t.h"
int main(void)
{
	/* The runner made us a session leader. */
	EQ(getsid(0), getpid());
	EQ(getpgrp(), getpid());
	ERR(setsid(), EPERM);
	ERR(setpgid(0, 0), EPERM);
	ERR(setpgid(1 << 22, 0), ESRCH);
	ERR(setpgid(0, -1), EINVAL);
	ERR(getpgid(1 << 22), ESRCH);
	int p[2];
	char c;
	OK(pipe(p));
	pid_t a = OK(fork());
	if (!a) {
		close(p[1]);
		_exit(read(p[0], &c, 1));
	}
	pid_t b = OK(fork());
	if (!b) {
		close(p[1]);
		_exit(read(p[0], &c, 1));
	}
	OK(setpgid(a, a));
	OK(setpgid(b, a));
	EQ(getpgid(b), a);
	EQ(getsid(b), getpid());
	ERR(setpgid(b, 1 << 22), EPERM);
	ERR(kill(-(1 << 22), 0), ESRCH);
	EQ(kill(-a, SIGUSR1), 0);
	int st;
	for (int i = 0; i < 2; i++) {
		CHECK(waitpid(-a, &st, 0) > 0);
		EQ(WTERMSIG(st), SIGUSR1);
	}
	ERR(setpgid(a, a), ESRCH);
	pid_t k = OK(fork());
	if (!k) {
		EQ(setsid(), getpid());
		EQ(getsid(0), getpid());
		EQ(getpgrp(), getpid());
		EQ(write(p[1], "x", 1), 1);
		close(p[1]);
		for (;;)
			pause();
	}
	EQ(read(p[0], &c, 1), 1);
	ERR(setpgid(k, getpid()), EPERM); /* another session, and its leader */
	kill(k, SIGKILL);
	EQ(waitpid(k, &st, 0), k);
	say("groups ok");
}
