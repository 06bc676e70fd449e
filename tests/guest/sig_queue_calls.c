// Waiting for and sending signals with data: sigtimedwait, sigpending, tkill, rt_tgsigqueueinfo.
#include "t.h"
static siginfo_t info;
static long queue(int tgid, int tid, int sig, int code, int value)
{
	memset(&info, 0, sizeof info);
	info.si_signo = sig;
	info.si_code = code;
	info.si_value.sival_int = value;
	return syscall(SYS_rt_tgsigqueueinfo, tgid, tid, sig, &info);
}
int main(void)
{
	sigset_t set, old;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 1);
	OK(sigprocmask(SIG_BLOCK, &set, &old));
	struct timespec none = {0, 0}, brief = {0, 20000000}, bad = {0, 1000000000};
	ERR(sigtimedwait(&set, &info, &none), EAGAIN);
	double t = t_now();
	ERR(sigtimedwait(&set, &info, &brief), EAGAIN);
	CHECK(t_now() - t >= 0.02);
	ERR(sigtimedwait(&set, &info, &bad), EINVAL);

	int me = getpid();
	OK(syscall(SYS_tkill, me, SIGUSR1));
	OK(syscall(SYS_tkill, me, SIGUSR1)); // the second one merges into the first
	OK(queue(me, me, SIGRTMIN + 1, SI_QUEUE, 41));
	OK(queue(me, me, SIGRTMIN + 1, SI_QUEUE, 42)); // these queue
	sigset_t pending;
	OK(sigpending(&pending));
	EQ(sigismember(&pending, SIGUSR1), 1);
	EQ(sigismember(&pending, SIGRTMIN + 1), 1);
	EQ(sigismember(&pending, SIGUSR2), 0);
	EQ(syscall(SYS_rt_sigtimedwait, &set, &info, &none, 8), SIGUSR1); // glibc would show SI_USER
	EQ(info.si_code, SI_TKILL);
	EQ(info.si_pid, me);
	for (int i = 41; i <= 42; i++) {
		EQ(sigwaitinfo(&set, &info), SIGRTMIN + 1);
		EQ(info.si_code, SI_QUEUE);
		EQ(info.si_value.sival_int, i);
	}
	ERR(sigtimedwait(&set, &info, &none), EAGAIN);
	ERR(syscall(SYS_tkill, 0, SIGUSR1), EINVAL);
	ERR(syscall(SYS_tkill, me, 65), EINVAL);
	OK(syscall(SYS_tkill, me, 0));
	ERR(queue(me, 0x3fffffff, SIGUSR1, SI_QUEUE, 1), ESRCH);
	ERR(queue(0, me, SIGUSR1, SI_QUEUE, 1), EINVAL);
	// Nobody may claim for another that the kernel or kill(2) sent it.
	pid_t child = OK(fork());
	if (child == 0) {
		pause();
		_exit(0);
	}
	ERR(queue(child, child, SIGUSR1, SI_USER, 1), EPERM);
	ERR(queue(child, child, SIGUSR1, SI_KERNEL, 1), EPERM);
	OK(queue(child, child, SIGKILL, SI_QUEUE, 1));
	int st;
	EQ(waitpid(child, &st, 0), child);
	EQ(WTERMSIG(st), SIGKILL);
	say("queue calls ok");
}
