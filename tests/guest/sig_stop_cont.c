// SIGSTOP, SIGTSTP and SIGCONT: a stopped process does nothing, SIGCONT wakes even if blocked.
#include "t.h"
int main(void)
{
	int *c = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), st;
	pid_t k = OK(fork());
	if (!k) {
		sigset_t s;
		sigfillset(&s);
		sigprocmask(SIG_SETMASK, &s, NULL);
		for (;;)
			__atomic_add_fetch(c, 1, __ATOMIC_SEQ_CST);
	}
	while (*(volatile int *)c < 1000)
		;
	kill(k, SIGSTOP);
	EQ(waitpid(k, &st, WUNTRACED), k);
	EQ(WSTOPSIG(st), SIGSTOP);
	int at = *(volatile int *)c;
	t_msleep(20);
	EQ(*(volatile int *)c, at);
	EQ(t_state(k), 'T');
	kill(k, SIGCONT);
	EQ(waitpid(k, &st, WCONTINUED), k);
	while (*(volatile int *)c == at)
		;
	kill(k, SIGKILL);
	EQ(waitpid(k, &st, 0), k);
	EQ(WTERMSIG(st), SIGKILL);
	/* A stopped process can be killed without being continued. */
	k = OK(fork());
	if (!k) {
		kill(getpid(), SIGSTOP);
		_exit(0);
	}
	EQ(waitpid(k, &st, WUNTRACED), k);
	kill(k, SIGTERM); /* waits until it runs again */
	EQ(waitpid(k, &st, WNOHANG), 0);
	kill(k, SIGCONT);
	EQ(waitpid(k, &st, 0), k);
	EQ(WTERMSIG(st), SIGTERM);
	say("stop and continue ok");
}
