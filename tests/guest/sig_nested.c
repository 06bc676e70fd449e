// Handlers within handlers: 30 different signals at once, each frame returns to the one below.
#include "t.h"
static int order[64], n, depth, most;
static void on(int s)
{
	depth++;
	if (depth > most)
		most = depth;
	volatile char frame[512];
	memset((char *)frame, s, sizeof frame);
	order[n++] = s;
	for (unsigned i = 0; i < sizeof frame; i++)
		CHECK(frame[i] == s);
	depth--;
}
int main(void)
{
	sigset_t all, old;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	for (int i = 0; i < 30; i++) {
		t_on(SIGRTMIN + i, on, 0);
		raise(SIGRTMIN + i);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	/* All frames are built before the first handler runs, so the last built runs first. */
	printf("%d handlers, first %d last %d\n", n, order[0] - SIGRTMIN, order[n - 1] - SIGRTMIN);
}
