// /proc/self: maps, status, stat, fd, exe, cmdline, comm, cwd, root and environ make sense.
// args: one two
#include "t.h"
#include <dirent.h>
static char b[200000];
static char *slurp(const char *p)
{
	int fd = OK(open(p, O_RDONLY));
	ssize_t n, have = 0;
	while ((n = OK(read(fd, b + have, sizeof b - 1 - have))) > 0)
		have += n;
	b[have] = 0;
	OK(close(fd));
	return b;
}
static int var = 5;
int main(int argc, char **argv)
{
	char *s = slurp("/proc/self/cmdline");
	EQ(strcmp(s + strlen(s) + 1, "one"), 0);
	EQ(strcmp(s + strlen(s) + 5, "two"), 0);
	s = slurp("/proc/self/comm");
	EQ(strcmp(s, "proc_self_files\n"), 0); /* 15 letters and no more */
	s = slurp("/proc/self/stat");
	EQ(atoi(s), getpid());
	CHECK(strstr(s, " (proc_self_files) R "));
	int ppid, pgrp, sid, fields = 0;
	EQ(sscanf(strrchr(s, ')') + 4, "%d %d %d", &ppid, &pgrp, &sid), 3);
	CHECK(ppid == getppid() && pgrp == getpgrp() && sid == getsid(0));
	for (char *t = strrchr(s, ')'); *t; t++)
		fields += *t == ' ';
	printf("%d fields after the name\n", fields);
	s = slurp("/proc/self/status");
	char want[64];
	snprintf(want, sizeof want, "\nPid:\t%d\n", getpid());
	CHECK(strstr(s, want) && strstr(s, "\nThreads:\t1\n") && strstr(s, "\nVmRSS:\t"));
	CHECK(strstr(s, "\nUmask:\t0022\n") && strstr(s, "\nSigBlk:\t0000000000000000\n"));
	CHECK(!strncmp(s, "Name:\tproc_self_files\n", 22));
	s = slurp("/proc/self/maps");
	int text = 0, data = 0, stack = 0, heap_name = 0;
	malloc(100);
	char *save;
	for (char *l = strtok_r(s, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		unsigned long lo, hi;
		char pr[5];
		EQ(sscanf(l, "%lx-%lx %4s", &lo, &hi, pr), 3);
		unsigned long m = (unsigned long)&main, v = (unsigned long)&var, f = (unsigned long)&m;
		if (m >= lo && m < hi)
			text = !strcmp(pr, "r-xp") && strstr(l, "proc_self_files");
		if (v >= lo && v < hi)
			data = !strcmp(pr, "rw-p");
		if (f >= lo && f < hi)
			stack = strstr(l, "[stack]") && !strcmp(pr, "rw-p");
		heap_name |= !!strstr(l, "[heap]");
	}
	printf("text %d data %d stack %d heap %d\n", text, data, stack, heap_name);
	char l[500], cwd[500];
	ssize_t n = OK(readlink("/proc/self/exe", l, sizeof l - 1));
	l[n] = 0;
	CHECK(strstr(l, "/proc_self_files"));
	n = OK(readlink("/proc/self/cwd", l, sizeof l - 1));
	l[n] = 0;
	EQ(strcmp(l, getcwd(cwd, sizeof cwd)), 0);
	n = OK(readlink("/proc/self/root", l, sizeof l - 1));
	EQ(n, 1);
	OK(close(0));
	EQ(open("/dev/null", O_RDONLY), 0);
	EQ(dup2(0, 42), 42);
	DIR *d = opendir("/proc/self/fd");
	CHECK(d);
	struct dirent *e;
	int fds = 0, has42 = 0;
	while ((e = readdir(d))) {
		fds += e->d_name[0] != '.';
		has42 |= !strcmp(e->d_name, "42");
	}
	printf("%d descriptors, 42 %d\n", fds, has42);
	n = OK(readlink("/proc/self/fd/42", l, sizeof l - 1));
	l[n] = 0;
	puts(l);
	s = slurp("/proc/self/environ");
	CHECK(strstr(s, "PATH="));
	snprintf(l, sizeof l, "/proc/%d/stat", 1 << 22);
	ERR(open(l, O_RDONLY), ENOENT);
	slurp("/proc/self/fdinfo/42");
	CHECK(strstr(b, "pos:\t0\n") && strstr(b, "flags:\t0"));
	slurp("/proc/self/limits");
	CHECK(strstr(b, "Max open files            1024                 4096"));
	slurp("/proc/self/statm");
	CHECK(atoi(b) > 0);
}
