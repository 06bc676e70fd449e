// Calls that few programs make: their checks of arguments and what they answer without privilege or effect.
#include "t.h"
#include <sys/inotify.h>
#include <sys/timex.h>
int main(void)
{
	char *m = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	OK(syscall(SYS_mlock2, m, 2 * PAGE, 1)); // MLOCK_ONFAULT
	ERR(syscall(SYS_mlock2, m, PAGE, 2), EINVAL);
	OK(munlock(m, 2 * PAGE));
	OK(munmap(m + 2 * PAGE, PAGE));
	ERR(mlock(m, 4 * PAGE), ENOMEM); // a hole
	OK(msync(m, PAGE, MS_SYNC));
	ERR(msync(m, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
	ERR(msync(m + 1, PAGE, MS_SYNC), EINVAL);
	ERR(msync(m, 4 * PAGE, MS_ASYNC), ENOMEM);

	CHECK(OK(syscall(SYS_membarrier, 0, 0, 0)) & 1);
	ERR(syscall(SYS_membarrier, 1 << 29, 0, 0), EINVAL);
	ERR(syscall(SYS_membarrier, 0, 1, 0), EINVAL);

	struct rlimit a, b;
	OK(getrlimit(RLIMIT_NOFILE, &a));
	OK(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &b));
	EQ(memcmp(&a, &b, sizeof a), 0);
	b.rlim_cur = b.rlim_max + 1;
	ERR(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &b, NULL), EINVAL);
	ERR(syscall(SYS_prlimit64, 0, 99, NULL, &b), EINVAL);
	ERR(syscall(SYS_prlimit64, 0x3fffffff, RLIMIT_NOFILE, NULL, &b), ESRCH);

	int i = OK(syscall(SYS_inotify_init));
	EQ(fcntl(i, F_GETFD), 0);
	EQ(fcntl(i, F_GETFL) & O_NONBLOCK, 0);

	OK(unshare(0));
	OK(unshare(CLONE_FS | CLONE_FILES));
	ERR(unshare(0x1), EINVAL);

	struct timex tx = {0};
	CHECK(OK(adjtimex(&tx)) <= 5);
	CHECK(tx.tick >= 9000 && tx.tick <= 11000);
	ERR(clock_adjtime(CLOCK_MONOTONIC, &tx), EOPNOTSUPP);
	struct timespec ts = {-1, 0};
	ERR(clock_settime(CLOCK_REALTIME, &ts), EINVAL);
	ts = (struct timespec){1, 0};
	ERR(clock_settime(CLOCK_MONOTONIC, &ts), EINVAL);
	ERR(clock_settime(99, &ts), EINVAL);
	struct timeval tv = {1, 1000000};
	ERR(settimeofday(&tv, NULL), EINVAL);
	ERR(syscall(SYS_reboot, 1, 2, 3, NULL), geteuid() == 0 ? EINVAL : EPERM);
	if (geteuid() == 0) {
		ERR(syscall(SYS_syslog, 99, NULL, 0), EINVAL);
		ERR(syscall(SYS_syslog, 3, NULL, -1), EINVAL);
	}

	unsigned old = syscall(SYS_setfsgid, -1); // changes nothing, tells the present one
	EQ(old, getegid());
	OK(setregid(-1, -1));
	EQ(syscall(SYS_setfsuid, -1), geteuid());
	say("rare calls ok");
}
