// execve's refusals: ENOENT, EACCES, ENOEXEC, EISDIR-like, E2BIG, ETXTBSY, EFAULT.
#include "t.h"
int main(int argc, char **argv)
{
	if (argc > 1)
		return 0;
	char *av[] = { "x", "y", NULL }, *ev[] = { NULL };
	ERR(execve("none", av, ev), ENOENT);
	ERR(execve("", av, ev), ENOENT);
	t_write("plain", "\x7f" "ELF garbage that is long enough to be looked at, but is no program at all.....");
	ERR(execve("plain", av, ev), EACCES);
	OK(chmod("plain", 0755));
	ERR(execve("plain", av, ev), ENOEXEC);
	ERR(execve(".", av, ev), EACCES);
	ERR(execve("plain/x", av, ev), ENOTDIR);
	ERR(execve((void *)1, av, ev), EFAULT);
	ERR(execve("/proc/self/exe", (void *)1, ev), EFAULT);
	char *big = malloc(200 << 10);
	memset(big, 'b', 200 << 10);
	big[(200 << 10) - 1] = 0;
	char *huge[] = { "x", big, NULL }; /* one string over 128 KiB */
	ERR(execve("/proc/self/exe", huge, ev), E2BIG);
	big[100 << 10] = 0;
	char *many[100];
	for (int i = 0; i < 99; i++)
		many[i] = big;
	many[99] = NULL; /* together more than a quarter of the stack limit */
	ERR(execve("/proc/self/exe", many, ev), E2BIG);
	IN_CHILD(
		char *ok[] = { "x", big, big, NULL };
		execve("/proc/self/exe", ok, ev);
		_exit(9));
	/* A file that is open for writing cannot be run, nor a running one written. */
	int in = OK(open("/proc/self/exe", O_RDONLY)), out = OK(open("copy", O_CREAT | O_RDWR, 0755));
	char buf[65536];
	ssize_t n;
	while ((n = read(in, buf, sizeof buf)) > 0)
		EQ(write(out, buf, n), n);
	ERR(execve("copy", av, ev), ETXTBSY);
	OK(close(out));
	IN_CHILD(execve("copy", av, ev); _exit(9));
	/* A truncated program: no loading past the end. */
	OK(truncate("copy", 100));
	pid_t k = OK(fork());
	if (!k) {
		execve("copy", av, ev);
		_exit(50);
	}
	int st;
	EQ(waitpid(k, &st, 0), k);
	CHECK(st != 0);
	OK(symlink("loop", "loop"));
	ERR(execve("loop", av, ev), ELOOP);
	say("exec errors ok");
}
