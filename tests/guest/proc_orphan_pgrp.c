// A stopped process group that becomes orphaned gets SIGHUP, then SIGCONT.
#include "t.h"
#include <sys/prctl.h>
static int fd;
static void on(int s)
{
	const char *n = s == SIGHUP ? "H" : "C";
	write(fd, n, 1);
}
int main(void)
{
	int p[2], st, n = 0;
	char b[8] = "";
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	OK(pipe(p));
	fd = p[1];
	pid_t leader = OK(fork());
	if (!leader) {
		/* A session of its own: its end leaves the group without a parent in the session. */
		OK(setsid());
		pid_t c = OK(fork());
		if (!c) {
			t_on(SIGHUP, on, 0);
			t_on(SIGCONT, on, 0);
			OK(setpgid(0, 0));
			kill(getpid(), SIGSTOP);
			EQ(write(fd, "E", 1), 1);
			_exit(0);
		}
		t_until(c, 'T');
		_exit(0);
	}
	OK(close(p[1]));
	EQ(waitpid(leader, &st, 0), leader);
	ssize_t r;
	while (n < 7 && (r = read(p[0], b + n, 7 - n)) > 0)
		n += r;
	printf("hup %d cont %d end %d\n", !!strchr(b, 'H'), !!strchr(b, 'C'), !!strchr(b, 'E'));
	CHECK(wait(&st) > 0);
}
