// A write larger than the pipe blocks until all is taken, and comes out in order.
#include "t.h"
int main(void)
{
	int p[2];
	OK(pipe(p));
	size_t len = 3 << 20;
	if (OK(fork()) == 0) {
		unsigned *b = malloc(len);
		for (size_t i = 0; i < len / 4; i++)
			b[i] = i * 2654435761u;
		EQ(write(p[1], b, len), len);
		_exit(0);
	}
	OK(close(p[1]));
	unsigned char *in = malloc(len + 1);
	size_t have = 0, step = 1;
	ssize_t n;
	while ((n = read(p[0], in + have, step < len + 1 - have ? step : len + 1 - have)) > 0) {
		have += n;
		step = step * 3 % 70001 + 1;
	}
	EQ(have, len);
	for (size_t i = 0; i < len / 4; i++)
		CHECK(((unsigned *)in)[i] == (unsigned)(i * 2654435761u));
	int st;
	CHECK(wait(&st) > 0 && st == 0);
	say("3 MiB in order");
}
