// prctl: names, dumpable, parent death signal, no_new_privs, unknown options.
#include "t.h"
#include <sys/prctl.h>
int main(void)
{
	char n[17] = "";
	OK(prctl(PR_SET_NAME, "a-name-that-is-too-long"));
	OK(prctl(PR_GET_NAME, n));
	puts(n);
	char b[64] = "";
	int fd = OK(open("/proc/self/comm", O_RDONLY));
	CHECK(read(fd, b, sizeof b) > 0);
	fputs(b, stdout);
	EQ(prctl(PR_GET_DUMPABLE), 1);
	OK(prctl(PR_SET_DUMPABLE, 0));
	EQ(prctl(PR_GET_DUMPABLE), 0);
	ERR(prctl(PR_SET_DUMPABLE, 7), EINVAL);
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	ERR(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
	ERR(prctl(99999), EINVAL);
	ERR(prctl(PR_SET_PDEATHSIG, 100), EINVAL);
	OK(prctl(PR_SET_TIMERSLACK, 1000));
	EQ(prctl(PR_GET_TIMERSLACK), 1000);
	/* A child whose parent dies gets what it asked for. */
	int p[2];
	OK(pipe(p));
	pid_t mid = OK(fork());
	if (!mid) {
		pid_t k = OK(fork());
		if (!k) {
			sigset_t s;
			sigemptyset(&s);
			sigaddset(&s, SIGUSR2);
			OK(sigprocmask(SIG_BLOCK, &s, NULL));
			OK(prctl(PR_SET_PDEATHSIG, SIGUSR2));
			int v = 0;
			OK(prctl(PR_GET_PDEATHSIG, &v));
			EQ(v, SIGUSR2);
			EQ(write(p[1], "r", 1), 1);
			int got = sigwaitinfo(&s, NULL);
			EQ(write(p[1], got == SIGUSR2 ? "D" : "?", 1), 1);
			_exit(0);
		}
		char c;
		EQ(read(p[0], &c, 1), 1);
		_exit(0);
	}
	t_reap(mid);
	EQ(read(p[0], b, 1), 1);
	printf("%c\n", b[0]);
}
