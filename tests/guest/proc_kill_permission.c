// needs: root
// kill: permission by user ids, SIGCONT within a session, errors.
#include "t.h"
int main(void)
{
	pid_t other = OK(fork());
	if (!other) {
		OK(setresuid(2000, 2000, 2000));
		for (;;)
			pause();
	}
	pid_t same = OK(fork());
	if (!same) {
		OK(setresuid(1000, 3000, 3000));
		for (;;)
			pause();
	}
	t_until_asleep(other);
	t_until_asleep(same);
	IN_CHILD(
		OK(setresuid(1000, 1000, 1000));
		ERR(kill(other, SIGUSR1), EPERM);
		ERR(kill(other, 0), EPERM);
		EQ(kill(other, SIGCONT), 0); /* the same session */
		EQ(kill(same, SIGUSR1), 0); /* its real id is ours */
		ERR(kill(1, SIGUSR1), EPERM));
	int st;
	EQ(waitpid(same, &st, 0), same);
	EQ(WTERMSIG(st), SIGUSR1);
	ERR(kill(getpid(), 65), EINVAL);
	ERR(kill(getpid(), -1), EINVAL);
	ERR(kill(1 << 22, 0), ESRCH);
	ERR(syscall(SYS_tgkill, getpid(), 1 << 22, 0), ESRCH);
	ERR(syscall(SYS_tgkill, -1, getpid(), 0), EINVAL);
	EQ(kill(other, SIGKILL), 0);
	EQ(waitpid(other, &st, 0), other);
	say("kill ok");
}
