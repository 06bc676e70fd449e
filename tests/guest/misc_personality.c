// personality: read, set, inherited; ADDR_NO_RANDOMIZE makes addresses repeat.
#include "t.h"
#include <sys/personality.h>
int main(int argc, char **argv)
{
	if (argc > 1) {
		int x;
		printf("%lx ", (unsigned long)&x);
		return 0;
	}
	EQ(personality(0xffffffff), 0);
	EQ(personality(ADDR_NO_RANDOMIZE), 0);
	EQ(personality(0xffffffff), ADDR_NO_RANDOMIZE);
	char out[3][64] = { "", "", "" };
	for (int i = 0; i < 3; i++) {
		int p[2];
		OK(pipe(p));
		pid_t k = OK(fork());
		if (!k) {
			char *av[] = { "x", "y", NULL }, *ev[] = { NULL };
			dup2(p[1], 1);
			if (i == 2)
				personality(0);
			execve("/proc/self/exe", av, ev);
			_exit(9);
		}
		close(p[1]);
		CHECK(read(p[0], out[i], 63) > 4);
		t_reap(k);
	}
	EQ(strcmp(out[0], out[1]), 0);
	CHECK(strcmp(out[0], out[2])); /* with randomization it differs, as good as always */
	say("personality ok");
}
