// The newer forms of waiting: pselect6 with its mask, epoll_pwait2, ppoll; what they write back of the time.
#include "t.h"
#include <sys/epoll.h>
#include <sys/select.h>
static volatile int hits;
static void hit(int s) { (void)s; hits++; }
int main(void)
{
	int p[2];
	OK(pipe(p));
	sigset_t block, empty;
	sigemptyset(&empty);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	OK(sigprocmask(SIG_BLOCK, &block, NULL));
	t_on(SIGUSR1, hit, SA_RESTART);
	raise(SIGUSR1);
	// The mask lets it in for the length of the call; SA_RESTART does not help.
	struct { const sigset_t *set; size_t len; } arg = {&empty, 8};
	struct timespec ts = {5, 0};
	fd_set in;
	FD_ZERO(&in);
	FD_SET(p[0], &in);
	ERR(syscall(SYS_pselect6, p[0] + 1, &in, NULL, NULL, &ts, &arg), EINTR);
	EQ(hits, 1);
	CHECK(ts.tv_sec == 4 || ts.tv_sec == 5);
	ts = (struct timespec){0, 10000000};
	EQ(syscall(SYS_pselect6, p[0] + 1, &in, NULL, NULL, &ts, NULL), 0);
	EQ(ts.tv_sec + ts.tv_nsec, 0); // nothing is left of it
	EQ(FD_ISSET(p[0], &in), 0);
	arg.len = 4;
	ERR(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &ts, &arg), EINVAL);
	ts.tv_nsec = -1;
	ERR(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &ts, NULL), EINVAL);

	int ep = OK(epoll_create1(0));
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 7};
	OK(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
	ts = (struct timespec){0, 15000000};
	double t = t_now();
	EQ(syscall(SYS_epoll_pwait2, ep, &ev, 1, &ts, NULL, 0), 0);
	CHECK(t_now() - t >= 0.015);
	ts.tv_nsec = 1000000000;
	ERR(syscall(SYS_epoll_pwait2, ep, &ev, 1, &ts, NULL, 0), EINVAL);
	raise(SIGUSR1);
	ERR(syscall(SYS_epoll_pwait2, ep, &ev, 1, NULL, &empty, 8), EINTR);
	EQ(hits, 2);
	EQ(write(p[1], "x", 1), 1);
	EQ(syscall(SYS_epoll_pwait2, ep, &ev, 1, NULL, NULL, 0), 1);
	EQ(ev.data.u64, 7);
	ERR(syscall(SYS_epoll_pwait2, ep, &ev, 0, NULL, NULL, 0), EINVAL);
	// Ready and pending at once: what is ready wins, the signal stays.
	raise(SIGUSR1);
	struct pollfd pf = {p[0], POLLIN, 0};
	EQ(ppoll(&pf, 1, NULL, &empty), 1);
	EQ(hits, 2);
	say("timeouts ok");
}
