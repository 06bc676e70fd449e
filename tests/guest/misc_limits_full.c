// Running out is an error, not a crash: descriptors, processes, pipes, a full queue.
#include "t.h"
int main(void)
{
	int p[2], n = 0;
	struct rlimit rl = { 64, 64 };
	OK(setrlimit(RLIMIT_NOFILE, &rl));
	while (pipe(p) == 0)
		n++;
	CHECK(errno == EMFILE);
	printf("%d pipes\n", n);
	ERR(open("/dev/null", O_RDONLY) == -1 ? -1 : open("/dev/null", O_RDONLY), EMFILE);
	for (int i = 3; i < 64; i++)
		close(i);
	OK(pipe(p));
	rl = (struct rlimit){ 1, 1 };
	IN_CHILD(
		/* RLIMIT_NPROC counts a user's processes and does not bind root. */
		OK(setrlimit(RLIMIT_NPROC, &rl));
		if (getuid() == 0) {
			OK(setresuid(54321, 54321, 54321));
			pid_t k = fork();
			if (k == 0)
				_exit(0);
			CHECK(k == -1 && errno == EAGAIN);
		});
	say("limits ok");
}
