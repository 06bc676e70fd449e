/* runner: runs the listed guest programs one after the other, natively or as the
 * first process of a kernel. It needs little of a kernel: fork, execve, pipe, poll,
 * wait4, kill and a writable directory.
 *
 *   runner [-d DIR] [-b BINDIR] LIST
 *   runner [-d DIR] [-b BINDIR] -l "NAME SECONDS [ARG...];..."
 *
 * The file LIST has one program a line: NAME SECONDS [ARG...]. Each runs in the fresh empty
 * directory DIR (default /tmp/t), with a session of its own, standard input from
 * BINDIR/NAME.stdin or /dev/null, standard output and error in one pipe.
 * For each it prints "@> NAME", then "@< NAME OUTCOME LENGTH" and LENGTH bytes of
 * output and a newline. OUTCOME is exit:N, signal:N or timeout. "@. end" is last.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_OUT (64 * 1024)
static const char *dir = "/tmp/t", *bin = "/t/bin";
static char out[MAX_OUT];

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	printf("@! %s: %s\n", what, strerror(errno));
	exit(3);
}

/* Removes what is in the directory and, if self, the directory too. */
static void sweep(const char *path, int self)
{
	char sub[4096];
	struct stat st;
	struct dirent *e;
	DIR *d = opendir(path);
	if (d) {
		while ((e = readdir(d))) {
			if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
				continue;
			snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
			if (lstat(sub, &st) == 0 && S_ISDIR(st.st_mode)) {
				/* A mount that a failed program left behind must not be emptied. */
				umount2(sub, MNT_DETACH);
				sweep(sub, 1);
			} else {
				unlink(sub);
			}
		}
		closedir(d);
	}
	if (self)
		rmdir(path);
}

static void child(char **argv, const char *name, int w)
{
	/* What the harness or the shell left open is not the program's. */
	for (int fd = 3; fd < 64; fd++)
		if (fd != w)
			close(fd);
	char path[4096];
	static char *env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C", "TERM=dumb", NULL };
	struct rlimit files = { 1024, 4096 }, core = { 0, RLIM_INFINITY }, stack = { 8 << 20, RLIM_INFINITY };
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &core);
	setrlimit(RLIMIT_STACK, &stack);
	for (int s = 1; s < 65; s++)
		signal(s, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	setsid();
	if (chdir(dir))
		_exit(126);
	snprintf(path, sizeof path, "%s/%s.stdin", bin, name);
	int in = open(path, O_RDONLY);
	if (in < 0)
		in = open("/dev/null", O_RDONLY);
	dup2(in, 0);
	dup2(w, 1);
	dup2(w, 2);
	/* All: a shell that started the tests may have left one at 251. */
	if (close_range(3, ~0U, 0))
		for (int fd = 3; fd < 64; fd++)
			close(fd);
	snprintf(path, sizeof path, "%s/%s", bin, name);
	execve(path, argv, env);
	dprintf(2, "cannot execute %s: %s\n", path, strerror(errno));
	_exit(127);
}

static void run(char **argv, int seconds)
{
	const char *name = argv[0];
	int p[2], st = 0, timed_out = 0, reaped = 0;
	size_t len = 0;
	printf("@> %s\n", name);
	fflush(stdout);
	sweep(dir, 1);
	if (mkdir(dir, 0755) && errno != EEXIST)
		die("mkdir");
	if (pipe(p))
		die("pipe");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
		child(argv, name, p[1]);
	close(p[1]);
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	double end = now() + seconds, grace = 0;
	for (;;) {
		struct pollfd f = { p[0], POLLIN, 0 };
		double left = end - now();
		if (!reaped && waitpid(pid, &st, WNOHANG) == pid) {
			reaped = 1;
			/* Its session is over: stragglers that hold the pipe get a moment, then go. */
			grace = now() + 0.2;
		}
		if (reaped && now() > grace)
			break;
		if (left <= 0) {
			timed_out = 1;
			break;
		}
		poll(&f, 1, reaped ? 10 : left > 0.02 ? 20 : 1);
		if (f.revents) {
			char sink[4096];
			char *to = len < MAX_OUT ? out + len : sink;
			size_t room = len < MAX_OUT ? MAX_OUT - len : sizeof sink;
			ssize_t n = read(p[0], to, room);
			if (n == 0) {
				/* Everybody closed it: nothing more will come. */
				if (!reaped) {
					while (waitpid(pid, &st, WNOHANG) != pid && now() < end)
						poll(NULL, 0, 1);
					timed_out = now() >= end;
				}
				break;
			}
			if (n > 0 && len < MAX_OUT)
				len += n;
		}
	}
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	close(p[0]);
	while (waitpid(-1, NULL, reaped || !timed_out ? WNOHANG : 0) > 0)
		;
	if (timed_out)
		printf("@< %s timeout %zu\n", name, len);
	else if (WIFSIGNALED(st))
		printf("@< %s signal:%d %zu\n", name, WTERMSIG(st), len);
	else
		printf("@< %s exit:%d %zu\n", name, WEXITSTATUS(st), len);
	fwrite(out, 1, len, stdout);
	putchar('\n');
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int opt;
	FILE *list = NULL;
	char line[1024];
	while ((opt = getopt(argc, argv, "l:d:b:")) != -1) {
		if (opt == 'l') {
			for (char *p = optarg; (p = strchr(p, ';'));)
				*p = '\n';
			list = fmemopen(optarg, strlen(optarg), "r");
		} else if (opt == 'd')
			dir = optarg;
		else if (opt == 'b')
			bin = optarg;
		else
			return 2;
	}
	if (!list) {
		if (optind >= argc)
			return 2;
		list = fopen(argv[optind], "re");
		if (!list)
			die(argv[optind]);
	}
	while (fgets(line, sizeof line, list)) {
		char *av[32], *save = NULL;
		int n = 0;
		for (char *w = strtok_r(line, " \n", &save); w && n < 31; w = strtok_r(NULL, " \n", &save))
			av[n++] = w;
		av[n] = NULL;
		if (n < 2)
			continue;
		int seconds = atoi(av[1]);
		memmove(av + 1, av + 2, (n - 1) * sizeof *av);
		run(av, seconds);
	}
	printf("@. end\n");
	sweep(dir, 1);
	return 0;
}
