// A tree of processes, five levels of two: every node's status arrives at its parent.
#include "t.h"
static int tree(int depth)
{
	int sum = 1, st;
	if (depth == 0)
		return sum;
	pid_t k[2];
	for (int i = 0; i < 2; i++)
		if ((k[i] = OK(fork())) == 0)
			_exit(tree(depth - 1));
	for (int i = 0; i < 2; i++) {
		EQ(waitpid(k[i], &st, 0), k[i]);
		CHECK(WIFEXITED(st));
		sum += WEXITSTATUS(st);
	}
	return sum;
}
int main(void) { printf("%d processes\n", tree(5)); }
