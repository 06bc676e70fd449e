// Real-time signals queue in order with their values; lower numbers first; limit EAGAIN.
#include "t.h"
static char log_[400];
static void on(int s, siginfo_t *i, void *u)
{
	char t[32];
	snprintf(t, sizeof t, "%d:%d ", s - SIGRTMIN, i->si_value.sival_int);
	strcat(log_, t);
}
int main(void)
{
	sigset_t s, old;
	sigemptyset(&s);
	for (int i = 0; i < 4; i++) {
		sigaddset(&s, SIGRTMIN + i);
		struct sigaction sa = { .sa_sigaction = on, .sa_flags = SA_SIGINFO };
		sigfillset(&sa.sa_mask);
		OK(sigaction(SIGRTMIN + i, &sa, NULL));
	}
	OK(sigprocmask(SIG_BLOCK, &s, &old));
	for (int i = 0; i < 12; i++) {
		union sigval v = { .sival_int = i };
		OK(sigqueue(getpid(), SIGRTMIN + (i * 7 + 3) % 4, v));
	}
	/* Unblocked at once: the frames are stacked, so the highest would run first, but
	 * each handler blocks all others and Linux takes the lowest number first. */
	OK(sigprocmask(SIG_SETMASK, &old, NULL));
	puts(log_);
	OK(sigprocmask(SIG_BLOCK, &s, &old));
	struct rlimit rl = { 5, 5 };
	union sigval v = { 0 };
	OK(setrlimit(RLIMIT_SIGPENDING, &rl));
	int n = 0;
	while (n < 100 && sigqueue(getpid(), SIGRTMIN, v) == 0)
		n++;
	CHECK(errno == EAGAIN && n <= 5);
	say("limit ok");
}
