// 500 processes one after the other and 100 at once; no zombie is left.
#include "t.h"
int main(void)
{
	int st, sum = 0;
	for (int i = 0; i < 500; i++) {
		pid_t k = OK(fork());
		if (!k)
			_exit(i % 7);
		EQ(waitpid(k, &st, 0), k);
		sum += WEXITSTATUS(st);
	}
	printf("%d\n", sum);
	int p[2];
	char c;
	OK(pipe(p));
	for (int i = 0; i < 100; i++)
		if (OK(fork()) == 0) {
			close(p[1]);
			_exit(read(p[0], &c, 1));
		}
	OK(close(p[1]));
	int n = 0;
	while (wait(&st) > 0)
		n += st == 0;
	printf("%d\n", n);
	ERR(waitpid(-1, &st, WNOHANG), ECHILD);
}
