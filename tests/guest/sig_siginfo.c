// Every field of siginfo for kill, tgkill, sigqueue, a child and an alarm.
#include "t.h"
static volatile siginfo_t got;
static volatile int n;
static void on(int s, siginfo_t *i, void *u) { *(siginfo_t *)&got = *i; n++; }
int main(void)
{
	for (int s = 1; s < 32; s++)
		if (s != SIGKILL && s != SIGSTOP && s != SIGSEGV && s != SIGCONT)
			t_on_info(s, on, 0);
	t_on_info(SIGRTMIN + 3, on, 0);
	kill(getpid(), SIGUSR1);
	CHECK(got.si_signo == SIGUSR1 && got.si_code == SI_USER && got.si_pid == getpid() && got.si_uid == getuid());
	CHECK(got.si_errno == 0);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR2);
	CHECK(got.si_signo == SIGUSR2 && got.si_code == SI_TKILL && got.si_pid == getpid());
	union sigval v = { .sival_ptr = (void *)0x123456789a };
	OK(sigqueue(getpid(), SIGRTMIN + 3, v));
	CHECK(got.si_signo == SIGRTMIN + 3 && got.si_code == SI_QUEUE && got.si_value.sival_ptr == v.sival_ptr);
	siginfo_t mine = { .si_code = -77 };
	mine.si_value.sival_int = 5;
	OK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &mine));
	CHECK(got.si_code == -77 && got.si_value.sival_int == 5);
	IN_CHILD(
		/* Forging what only the kernel sends is refused for other processes. */
		siginfo_t f = { .si_code = SI_USER };
		ERR(syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &f), EPERM);
		f.si_code = 1;
		ERR(syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &f), EPERM));
	CHECK(got.si_signo == SIGCHLD && got.si_code == CLD_EXITED && got.si_status == 0 && got.si_uid == getuid());
	pid_t k = OK(fork());
	if (!k)
		_exit(9);
	int st;
	while (waitpid(k, &st, 0) != k)
		;
	while (got.si_pid != k)
		;
	CHECK(got.si_code == CLD_EXITED && got.si_status == 9);
	struct itimerval it = { .it_value = { 0, 1000 } };
	setitimer(ITIMER_REAL, &it, NULL);
	while (got.si_signo != SIGALRM)
		pause();
	EQ(got.si_code, SI_KERNEL);
	signal(SIGPIPE, SIG_IGN);
	t_on_info(SIGPIPE, on, 0);
	int p[2];
	OK(pipe(p));
	close(p[0]);
	ERR(write(p[1], "", 1), EPIPE);
	printf("SIGPIPE code %d\n", got.si_code);
}
