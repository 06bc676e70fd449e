// Process descriptors: pidfd_open, polling them, signalling through them, taking a file.
#include "t.h"
#include <sys/wait.h>
#ifndef P_PIDFD
#define P_PIDFD 3
#endif
int main(void)
{
	int p[2], go[2];
	OK(pipe(p));
	OK(pipe(go));
	pid_t c = OK(fork());
	if (c == 0) {
		char b;
		int f = OK(open("child-file", O_CREAT | O_RDWR, 0600));
		EQ(dup2(f, 50), 50);
		EQ(write(50, "of the child", 12), 12);
		EQ(write(p[1], "r", 1), 1);
		EQ(read(go[0], &b, 1), 1);
		_exit(9);
	}
	char b[32];
	EQ(read(p[0], b, 1), 1);
	int pfd = OK(syscall(SYS_pidfd_open, c, 0));
	EQ(fcntl(pfd, F_GETFD), FD_CLOEXEC);
	int got = OK(syscall(SYS_pidfd_getfd, pfd, 50, 0));
	EQ(fcntl(got, F_GETFD), FD_CLOEXEC);
	EQ(pread(got, b, sizeof b, 0), 12);
	EQ(lseek(got, 0, SEEK_CUR), 12); // the same open file: the child's position
	ERR(syscall(SYS_pidfd_getfd, pfd, 51, 0), EBADF);
	ERR(syscall(SYS_pidfd_getfd, pfd, 50, 1), EINVAL);
	ERR(syscall(SYS_pidfd_getfd, 0, 50, 0), EBADF);
	OK(syscall(SYS_pidfd_send_signal, pfd, 0, NULL, 0));
	ERR(syscall(SYS_pidfd_send_signal, pfd, 0, NULL, 256), EINVAL);
	ERR(syscall(SYS_pidfd_send_signal, p[0], 0, NULL, 0), EBADF);
	struct pollfd pf = {pfd, POLLIN, 0};
	EQ(poll(&pf, 1, 0), 0);
	siginfo_t si = {0};
	EQ(waitid(P_PIDFD, pfd, &si, WEXITED | WNOHANG), 0);
	EQ(si.si_pid, 0);
	EQ(write(go[1], "g", 1), 1);
	EQ(poll(&pf, 1, 5000), 1);
	EQ(pf.revents & POLLIN, POLLIN);
	EQ(waitid(P_PIDFD, pfd, &si, WEXITED), 0);
	EQ(si.si_status, 9);
	ERR(syscall(SYS_pidfd_send_signal, pfd, 0, NULL, 0), ESRCH);
	ERR(syscall(SYS_pidfd_getfd, pfd, 50, 0), ESRCH);
	ERR(syscall(SYS_pidfd_open, c, 0), ESRCH);
	ERR(syscall(SYS_pidfd_open, -1, 0), EINVAL);
	ERR(syscall(SYS_pidfd_open, getpid(), 1), EINVAL);
	say("pidfd ok");
}
