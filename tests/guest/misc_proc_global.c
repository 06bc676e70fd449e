// The files of /proc and /sys that programs read exist and have their known lines.
#include "t.h"
static char b[65536];
static int has(const char *path, const char *what)
{
	int fd = open(path, O_RDONLY);
	if (fd < 0) {
		printf("no %s\n", path);
		return 0;
	}
	ssize_t n, have = 0;
	while (have < (ssize_t)sizeof b - 1 && (n = read(fd, b + have, sizeof b - 1 - have)) > 0)
		have += n;
	b[have > 0 ? have : 0] = 0;
	close(fd);
	if (!strstr(b, what))
		printf("%s lacks %s\n", path, what);
	return 1;
}
int main(void)
{
	has("/proc/meminfo", "MemTotal:");
	has("/proc/meminfo", "MemAvailable:");
	has("/proc/cpuinfo", "processor\t: 0");
	has("/proc/stat", "cpu0 ");
	has("/proc/stat", "btime ");
	has("/proc/uptime", ".");
	has("/proc/loadavg", "/");
	has("/proc/mounts", " / ");
	has("/proc/self/mountinfo", " / / ");
	has("/proc/filesystems", "nodev\tproc");
	has("/proc/version", "Linux version ");
	has("/proc/cmdline", "");
	has("/proc/devices", "Character devices:");
	has("/proc/sys/kernel/pid_max", "\n");
	has("/proc/sys/kernel/ostype", "Linux");
	has("/proc/sys/kernel/hostname", "\n");
	has("/proc/sys/kernel/ngroups_max", "65536");
	has("/proc/sys/kernel/cap_last_cap", "40");
	has("/proc/sys/kernel/random/boot_id", "-");
	has("/proc/sys/kernel/randomize_va_space", "2");
	has("/proc/sys/fs/pipe-max-size", "1048576");
	has("/proc/sys/fs/file-max", "\n");
	has("/proc/sys/vm/overcommit_memory", "\n");
	has("/sys/devices/system/cpu/online", "0");
	has("/proc/self/cgroup", "/");
	struct stat st;
	EQ(stat("/proc/self/ns", &st), 0);
	EQ(lstat("/dev/fd", &st), 0);
	EQ(lstat("/dev/stdin", &st), 0);
	say("known files looked at");
}
