// After a child has called execve its parent can no longer move it: EACCES.
#include "t.h"
int main(int argc, char **argv)
{
	if (argc > 1) {
		char c;
		EQ(write(3, "r", 1), 1);
		return read(4, &c, 1);
	}
	int up[2], down[2];
	OK(pipe(up));
	OK(pipe(down));
	pid_t k = OK(fork());
	if (!k) {
		close(down[1]);
		int a = dup(up[1]), b = dup(down[0]);
		(void)a, (void)b;
		int x = fcntl(up[1], F_DUPFD, 20), y = fcntl(down[0], F_DUPFD, 20);
		dup2(x, 3);
		dup2(y, 4);
		for (int i = 5; i < 30; i++)
			close(i);
		char *av[] = { "x", "child", NULL };
		execv("/proc/self/exe", av);
		_exit(9);
	}
	char c;
	EQ(read(up[0], &c, 1), 1);
	ERR(setpgid(k, k), EACCES);
	OK(close(down[1]));
	t_reap(k);
	say("EACCES after exec");
}
