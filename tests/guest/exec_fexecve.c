// execveat: by descriptor, by directory, memfd, and AT_SYMLINK_NOFOLLOW.
#include "t.h"
int main(int argc, char **argv)
{
	if (argc > 1)
		return atoi(argv[1]);
	char *av[] = { "x", "5", NULL }, *ev[] = { NULL };
	int self = OK(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
	int st;
	pid_t k = OK(fork());
	if (!k) {
		syscall(SYS_execveat, self, "", av, ev, AT_EMPTY_PATH);
		_exit(99);
	}
	EQ(waitpid(k, &st, 0), k);
	EQ(WEXITSTATUS(st), 5);
	int m = OK(memfd_create("prog", MFD_CLOEXEC));
	char buf[65536];
	ssize_t n;
	while ((n = read(self, buf, sizeof buf)) > 0)
		EQ(write(m, buf, n), n);
	k = OK(fork());
	if (!k) {
		fexecve(m, av, ev);
		_exit(99);
	}
	EQ(waitpid(k, &st, 0), k);
	EQ(WEXITSTATUS(st), 5);
	OK(symlink("/proc/self/exe", "l"));
	ERR(syscall(SYS_execveat, AT_FDCWD, "l", av, ev, AT_SYMLINK_NOFOLLOW), ELOOP);
	ERR(syscall(SYS_execveat, 99, "x", av, ev, 0), EBADF);
	ERR(syscall(SYS_execveat, self, "", av, ev, 0), ENOENT);
	ERR(syscall(SYS_execveat, AT_FDCWD, "l", av, ev, 0x8000), EINVAL);
	int d = OK(open(".", O_RDONLY));
	k = OK(fork());
	if (!k) {
		syscall(SYS_execveat, d, "l", av, ev, 0);
		_exit(99);
	}
	EQ(waitpid(k, &st, 0), k);
	EQ(WEXITSTATUS(st), 5);
	say("execveat ok");
}
