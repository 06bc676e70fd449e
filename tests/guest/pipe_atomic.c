// Writes of up to PIPE_BUF bytes from many writers are never mixed.
#include "t.h"
int main(void)
{
	int p[2];
	OK(pipe(p));
	for (int k = 0; k < 6; k++)
		if (OK(fork()) == 0) {
			char b[1000];
			memset(b, 'a' + k, sizeof b);
			for (int i = 0; i < 200; i++)
				EQ(write(p[1], b, sizeof b), sizeof b);
			_exit(0);
		}
	OK(close(p[1]));
	FILE *f = fdopen(p[0], "r");
	char b[1000];
	int count[6] = { 0 };
	while (fread(b, sizeof b, 1, f) == 1) {
		for (int i = 1; i < 1000; i++)
			CHECK(b[i] == b[0]);
		count[b[0] - 'a']++;
	}
	for (int k = 0; k < 6; k++) {
		printf("%d ", count[k]);
		int st;
		CHECK(wait(&st) > 0 && st == 0);
	}
	puts("");
}
