// The default action of every signal, by its effect on a child.
#include "t.h"
int main(void)
{
	for (int s = 1; s <= 64; s++) {
		if (s == 32 || s == 33)
			continue;
		int p[2], st;
		char c;
		OK(pipe(p));
		pid_t k = OK(fork());
		if (!k) {
			close(p[1]);
			_exit(read(p[0], &c, 1) + 1);
		}
		kill(k, s);
		OK(close(p[0]));
		OK(close(p[1]));
		EQ(waitpid(k, &st, WUNTRACED), k);
		if (WIFSTOPPED(st)) {
			printf("%d stops\n", s);
			kill(k, SIGKILL);
			EQ(waitpid(k, &st, 0), k);
		} else if (WIFEXITED(st)) {
			printf("%d ignored\n", s);
		} else if (WTERMSIG(st) != s) {
			printf("%d killed by %d\n", s, WTERMSIG(st));
		}
	}
}
