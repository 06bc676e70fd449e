// A pipeline of 60 processes passes lines through, and the end travels along.
#include "t.h"
int main(void)
{
	int in = -1, first[2];
	OK(pipe(first));
	in = first[0];
	for (int k = 0; k < 60; k++) {
		int p[2];
		OK(pipe(p));
		if (OK(fork()) == 0) {
			close(first[1]);
			close(p[0]);
			char c[512];
			ssize_t n;
			while ((n = read(in, c, sizeof c)) > 0) {
				for (int i = 0; i < n; i++)
					c[i] = c[i] == '\n' ? '\n' : (c[i] - 'a' + 1) % 26 + 'a';
				EQ(write(p[1], c, n), n);
			}
			_exit(0);
		}
		OK(close(p[1]));
		if (in != first[0])
			OK(close(in));
		in = p[0];
	}
	EQ(write(first[1], "abcxyz\nhello\n", 13), 13);
	OK(close(first[0]));
	OK(close(first[1]));
	char b[100] = "";
	size_t have = 0;
	ssize_t n;
	while ((n = read(in, b + have, sizeof b - have - 1)) > 0)
		have += n;
	fputs(b, stdout);
	int st, kids = 0;
	while (wait(&st) > 0)
		kids += st == 0;
	printf("%d processes\n", kids);
}
