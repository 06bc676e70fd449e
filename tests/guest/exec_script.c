// #! scripts: one argument, nesting, relative interpreters, line limits, errors.
#include "t.h"
static int run(const char *path)
{
	int st;
	pid_t k = OK(fork());
	if (!k) {
		char *av[] = { "zero", "arg1", "arg2", NULL }, *ev[] = { NULL };
		execve(path, av, ev);
		_exit(100 + errno % 100);
	}
	EQ(waitpid(k, &st, 0), k);
	return WEXITSTATUS(st);
}
static void script(const char *path, const char *text)
{
	t_write(path, text);
	OK(chmod(path, 0755));
}
int main(int argc, char **argv)
{
	if (argc > 1) {
		for (int i = 1; i < argc; i++)
			printf("%s[%s]", i > 1 ? " " : "", argv[i]);
		puts("");
		return 7;
	}
	char self[500], text[1000];
	ssize_t n = OK(readlink("/proc/self/exe", self, sizeof self - 1));
	self[n] = 0;
	OK(symlink(self, "interp"));
	script("s1", "#!./interp -x  two words \t\nrest\n");
	EQ(run("./s1"), 7);
	script("s2", "#! ./interp\n");
	EQ(run("./s2"), 7);
	script("s3", "#!./s2 nested\n");
	EQ(run("./s3"), 7);
	script("empty", "#!\n");
	EQ(run("./empty"), 100 + ENOEXEC);
	script("missing", "#!/no/such/interpreter\n");
	EQ(run("./missing"), 100 + ENOENT);
	script("text", "echo hello\n");
	EQ(run("./text"), 100 + ENOEXEC);
	script("zero", "");
	EQ(run("./zero"), 100 + ENOEXEC);
	script("nonl", "#!./interp");
	EQ(run("./nonl"), 7);
	/* Five levels are too many. */
	script("l1", "#!./s3\n");
	script("l2", "#!./l1\n");
	script("l3", "#!./l2\n");
	script("l4", "#!./l3\n");
	printf("l1 %d\n", run("./l1"));
	EQ(run("./l4"), 100 + ELOOP);
	/* A first line longer than the buffer: the interpreter would be cut. */
	memset(text, 'a', sizeof text);
	memcpy(text, "#!./interp", 10);
	strcpy(text + 990, "\n");
	script("long", text);
	EQ(run("./long"), 100 + ENOEXEC);
}
