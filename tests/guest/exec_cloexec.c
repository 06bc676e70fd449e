// Across execve: close-on-exec files go, others stay; handlers reset, ignored stays.
#include "t.h"
static void on(int s) {}
int main(int argc, char **argv)
{
	if (argc > 1) {
		EQ(fcntl(10, F_GETFD), 0);
		ERR(fcntl(11, F_GETFD), EBADF);
		EQ(lseek(10, 0, SEEK_CUR), 3);
		struct sigaction sa;
		sigaction(SIGUSR1, NULL, &sa);
		CHECK(sa.sa_handler == SIG_DFL);
		sigaction(SIGUSR2, NULL, &sa);
		CHECK(sa.sa_handler == SIG_IGN);
		sigset_t s;
		sigprocmask(SIG_BLOCK, NULL, &s);
		CHECK(sigismember(&s, SIGHUP) && !sigismember(&s, SIGINT));
		sigpending(&s);
		CHECK(sigismember(&s, SIGHUP));
		stack_t ss;
		sigaltstack(NULL, &ss);
		EQ(ss.ss_flags, SS_DISABLE);
		CHECK(getpid() == atoi(argv[1]));
		EQ(alarm(0) > 0, 1);
		EQ(umask(022), 027);
		struct itimerval it;
		getitimer(ITIMER_VIRTUAL, &it);
		CHECK(it.it_value.tv_sec > 0);
		say("kept what stays, lost what goes");
		return 0;
	}
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	EQ(write(fd, "abc", 3), 3);
	EQ(dup2(fd, 10), 10);
	EQ(dup3(fd, 11, O_CLOEXEC), 11);
	t_on(SIGUSR1, on, 0);
	signal(SIGUSR2, SIG_IGN);
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGHUP);
	OK(sigprocmask(SIG_BLOCK, &s, NULL));
	raise(SIGHUP);
	stack_t ss = { .ss_sp = malloc(65536), .ss_size = 65536 };
	OK(sigaltstack(&ss, NULL));
	alarm(100);
	struct itimerval it = { .it_value = { 50, 0 } };
	OK(setitimer(ITIMER_VIRTUAL, &it, NULL));
	umask(027);
	char pid[16];
	snprintf(pid, sizeof pid, "%d", getpid());
	char *av[] = { "x", pid, NULL };
	execv("/proc/self/exe", av);
	return 9;
}
