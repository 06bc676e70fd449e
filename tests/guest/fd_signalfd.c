// signalfd: blocked signals are read as records with their details.
#include "t.h"
#include <sys/signalfd.h>
int main(void)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGRTMIN);
	sigaddset(&s, SIGCHLD);
	OK(sigprocmask(SIG_BLOCK, &s, NULL));
	int fd = OK(signalfd(-1, &s, SFD_NONBLOCK));
	struct signalfd_siginfo i[4];
	ERR(read(fd, i, sizeof i), EAGAIN);
	ERR(read(fd, i, 10), EINVAL);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1);
	union sigval v = { .sival_int = 77 };
	OK(sigqueue(getpid(), SIGRTMIN, v));
	struct pollfd f = { fd, POLLIN };
	EQ(poll(&f, 1, 0), 1);
	EQ(read(fd, i, sizeof i), 2 * sizeof *i);
	CHECK(i[0].ssi_signo == SIGUSR1 && i[0].ssi_code == SI_USER && i[0].ssi_pid == (unsigned)getpid());
	CHECK(i[1].ssi_signo == (unsigned)SIGRTMIN && i[1].ssi_code == SI_QUEUE && i[1].ssi_int == 77);
	pid_t k = OK(fork());
	if (!k)
		_exit(5);
	EQ(poll(&f, 1, 5000), 1);
	EQ(read(fd, i, sizeof i), sizeof *i);
	CHECK(i[0].ssi_signo == SIGCHLD && i[0].ssi_pid == (unsigned)k && i[0].ssi_status == 5);
	CHECK(i[0].ssi_code == CLD_EXITED);
	sigdelset(&s, SIGUSR1);
	EQ(signalfd(fd, &s, 0), fd); /* the mask can be changed */
	raise(SIGUSR1);
	ERR(read(fd, i, sizeof i), EAGAIN);
	ERR(signalfd(0, &s, 0), EINVAL);
	say("signalfd ok");
}
