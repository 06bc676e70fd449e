// vfork: the child shares memory and the parent waits until exec or exit.
// args: parent
#include "t.h"
static volatile int shared;
int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "child"))
		return 3;
	pid_t k = vfork();
	if (k == 0) {
		shared = 1;
		usleep(20000);
		shared = 2;
		_exit(5);
	}
	EQ(shared, 2);
	int st;
	EQ(waitpid(k, &st, 0), k);
	EQ(WEXITSTATUS(st), 5);
	char *av[] = { argv[0], "child", NULL };
	k = vfork();
	if (k == 0) {
		shared = 3;
		execv("/proc/self/exe", av);
		_exit(9);
	}
	EQ(shared, 3);
	EQ(waitpid(k, &st, 0), k);
	EQ(WEXITSTATUS(st), 3);
	k = vfork();
	if (k == 0) {
		execv("/nonexistent", av);
		shared = errno;
		_exit(9);
	}
	EQ(shared, ENOENT);
	EQ(waitpid(k, &st, 0), k);
	/* A killed vfork child releases the parent as well. */
	k = vfork();
	if (k == 0)
		syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
	EQ(waitpid(k, &st, 0), k);
	EQ(WTERMSIG(st), SIGKILL);
	say("vfork ok");
}
