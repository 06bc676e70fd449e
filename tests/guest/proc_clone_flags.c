// clone with CLONE_FILES, CLONE_FS and CLONE_VM shares exactly those.
#include "t.h"
static int var;
static int child(void *x)
{
	int fd = open("f", O_RDONLY);
	if (fd < 0)
		return 1;
	chdir("d");
	umask(077);
	var = fd;
	return 0;
}
static char stack[65536] __attribute__((aligned(16)));
static int run(int flags)
{
	int st;
	var = 0;
	pid_t k = OK(clone(child, stack + sizeof stack, flags | SIGCHLD, NULL));
	EQ(waitpid(k, &st, 0), k);
	EQ(st, 0);
	return var;
}
int main(void)
{
	t_write("f", "");
	OK(mkdir("d", 0700));
	EQ(run(0), 0);
	EQ(access("f", F_OK), 0);
	int fd = run(CLONE_VM);
	CHECK(fd > 0);
	ERR(fcntl(fd, F_GETFD), EBADF);
	EQ(access("f", F_OK), 0);
	fd = run(CLONE_VM | CLONE_FILES);
	EQ(fcntl(fd, F_GETFD), 0);
	EQ(run(CLONE_FS), 0);
	ERR(access("f", F_OK), ENOENT);
	EQ(umask(022), 077);
	OK(chdir(".."));
	ERR(clone(child, stack + sizeof stack, CLONE_SIGHAND | SIGCHLD, NULL), EINVAL);
	ERR(clone(child, stack + sizeof stack, CLONE_THREAD | CLONE_VM | SIGCHLD, NULL), EINVAL);
	/* Without a signal at its end a child is only seen with __WALL or __WCLONE. */
	pid_t k = OK(clone(child, stack + sizeof stack, 0, NULL));
	int st;
	ERR(waitpid(k, &st, 0), ECHILD);
	EQ(waitpid(k, &st, __WALL), k);
	k = OK(clone(child, stack + sizeof stack, CLONE_VM, NULL));
	EQ(waitpid(k, &st, __WCLONE), k);
	say("clone ok");
}
