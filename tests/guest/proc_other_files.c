// /proc/PID of another process: its cmdline, its end, and kill by /proc listing.
#include "t.h"
#include <dirent.h>
int main(void)
{
	pid_t k = OK(fork());
	if (!k)
		for (;;)
			pause();
	char path[64], b[64];
	snprintf(path, sizeof path, "/proc/%d", k);
	int d = OK(open(path, O_RDONLY | O_DIRECTORY));
	int fd = OK(openat(d, "comm", O_RDONLY));
	CHECK(read(fd, b, sizeof b) > 1);
	DIR *dir = opendir("/proc");
	struct dirent *e;
	int seen = 0;
	while ((e = readdir(dir)))
		seen += atoi(e->d_name) == k;
	EQ(seen, 1);
	struct stat st;
	OK(stat(path, &st));
	EQ(st.st_uid, getuid());
	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", k, k);
	OK(open(path, O_RDONLY));
	kill(k, SIGKILL);
	int s;
	EQ(waitpid(k, &s, 0), k);
	ERR(openat(d, "stat", O_RDONLY), ESRCH);
	say("proc entries ok");
}
