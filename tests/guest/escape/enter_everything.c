// expect: exit 0
// seconds: 60
// All 500 system call numbers with hostile arguments in children: the kernel lives on.
#include "../t.h"
#include <sys/utsname.h>
static const unsigned long args[] = { 0, 1, -1UL, 0x7fffffffd000, 0xffffffff81000000, 8, 4096 };
int main(void)
{
	/* Never on a host: as root fchmod(0, 1) would take /dev/null from everybody, and worse. */
	struct utsname u;
	OK(uname(&u));
	if (!strstr(u.release, "umbra")) {
		say("this is for Umbra only");
		return 3;
	}
	unsigned seed = 12345;
	for (int nr = 0; nr < 500; nr++) {
		/* Not these: they end the machine or block for good by design. */
		if (nr == SYS_reboot || nr == SYS_kexec_load || nr == SYS_kexec_file_load || nr == SYS_sync || nr == SYS_syslog ||
		    nr == SYS_vhangup || nr == SYS_init_module || nr == SYS_swapoff || nr == SYS_swapon || nr == SYS_settimeofday ||
		    nr == SYS_clock_settime || nr == SYS_sethostname || nr == SYS_setdomainname || nr == SYS_kill || nr == SYS_tkill ||
		    nr == SYS_adjtimex || nr == SYS_clock_adjtime || nr == SYS_umount2 || nr == SYS_pivot_root || nr == SYS_delete_module ||
		    nr == SYS_rt_sigqueueinfo || nr == SYS_setpriority || nr == SYS_prlimit64 || nr == SYS_ptrace || nr == SYS_finit_module ||
		    nr == SYS_acct || nr == SYS_fork || nr == SYS_vfork || nr == SYS_clone || nr == SYS_clone3 || nr == SYS_quotactl || nr == SYS_process_vm_writev || nr == SYS_reboot || nr == SYS_fanotify_init)
			continue;
		pid_t k = OK(fork());
		if (!k) {
			alarm(1);
			setsid();
			for (int i = 0; i < 20; i++) {
				unsigned long a[6];
				for (int x = 0; x < 6; x++) {
					seed = seed * 1103515245 + 12345;
					a[x] = args[(seed >> 16) % 7];
				}
				/* Sleeping calls get a zero in the place of their pointer now and then; alarm ends the rest. */
				syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
			}
			_exit(0);
		}
		seed += nr * 7919;
		int st;
		double end = t_now() + 1.5;
		while (waitpid(k, &st, WNOHANG) == 0) {
			if (t_now() > end)
				kill(k, SIGKILL);
			t_msleep(1);
		}
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	CHECK(getppid() >= 0);
	return 0;
}
