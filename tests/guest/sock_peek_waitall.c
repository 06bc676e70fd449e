// sockets: MSG_PEEK, MSG_WAITALL, MSG_DONTWAIT, SO_RCVLOWAT, and time-outs.
#include "sock.h"

static void got_alarm(int s) { (void)s; }
static double t0;
static void start(void) { t0 = t_now(); }
static int took(double least) { return t_now() - t0 > least && t_now() - t0 < least + 5; }

int main(void)
{
	int p[2], v;
	char b[64] = { 0 };
	pid_t k;
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	EQ(write(p[0], "abcdef", 6), 6);
	EQ(recv(p[1], b, 3, MSG_PEEK), 3);
	EQ(memcmp(b, "abc", 3), 0);
	EQ(recv(p[1], b, 64, MSG_PEEK), 6);
	EQ(recv(p[1], b, 64, MSG_PEEK | MSG_WAITALL), 6); /* does not wait for what is not there */
	EQ(ioctl(p[1], FIONREAD, &v), 0);
	EQ(v, 6);
	EQ(recv(p[1], b, 2, 0), 2);
	EQ(recv(p[1], b, 64, MSG_PEEK), 4);
	EQ(memcmp(b, "cdef", 4), 0);
	EQ(recv(p[1], b, 64, MSG_TRUNC), 4); /* means nothing on a stream */
	/* all */
	if ((k = OK(fork())) == 0) {
		for (int i = 0; i < 10; i++) {
			t_msleep(3);
			EQ(write(p[0], "0123456789" + i, 1), 1);
		}
		_exit(0);
	}
	memset(b, 0, sizeof b);
	EQ(recv(p[1], b, 10, MSG_WAITALL), 10);
	EQ(strcmp(b, "0123456789"), 0);
	t_reap(k);
	EQ(write(p[0], "xyz", 3), 3);
	EQ(recv(p[1], b, 10, MSG_WAITALL | MSG_DONTWAIT), 3);
	/* all, but the end comes first */
	if ((k = OK(fork())) == 0) {
		EQ(write(p[0], "xyz", 3), 3);
		t_until_asleep(getppid());
		OK(shutdown(p[0], SHUT_WR));
		_exit(0);
	}
	EQ(recv(p[1], b, 10, MSG_WAITALL), 3);
	t_reap(k);
	close(p[0]);
	close(p[1]);
	/* at least so many */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	t_setint(p[1], SO_RCVLOWAT, 5);
	if ((k = OK(fork())) == 0) {
		EQ(write(p[0], "123", 3), 3);
		t_until_asleep(getppid());
		EQ(write(p[0], "456", 3), 3);
		_exit(0);
	}
	EQ(recv(p[1], b, 20, 0), 6);
	t_reap(k);
	EQ(write(p[0], "12", 2), 2);
	EQ(recv(p[1], b, 2, 0), 2);
	EQ(write(p[0], "12", 2), 2);
	EQ(recv(p[1], b, 20, MSG_DONTWAIT), 2);
	t_setint(p[1], SO_RCVLOWAT, 1);
	/* time-outs of receiving */
	struct timeval tv = { 0, 60000 };
	OK(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	start();
	ERR(read(p[1], b, 1), EAGAIN);
	CHECK(took(0.05));
	EQ(write(p[0], "12", 2), 2);
	start();
	EQ(recv(p[1], b, 20, MSG_WAITALL), 2);
	CHECK(took(0.05));
	/* with one a signal ends the call for good, without one it is restarted */
	t_on(SIGALRM, got_alarm, SA_RESTART);
	struct itimerval it = { { 0, 0 }, { 0, 30000 } };
	tv.tv_sec = 5;
	OK(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	OK(setitimer(ITIMER_REAL, &it, NULL));
	ERR(read(p[1], b, 1), EINTR);
	tv = (struct timeval){ 0, 0 };
	OK(setsockopt(p[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	if ((k = OK(fork())) == 0) {
		t_msleep(100);
		_exit(write(p[0], "r", 1) != 1);
	}
	OK(setitimer(ITIMER_REAL, &it, NULL));
	EQ(read(p[1], b, 1), 1);
	t_reap(k);
	t_on(SIGALRM, got_alarm, 0);
	OK(setitimer(ITIMER_REAL, &it, NULL));
	ERR(read(p[1], b, 1), EINTR);
	/* part of it, then a signal */
	EQ(write(p[0], "12", 2), 2);
	OK(setitimer(ITIMER_REAL, &it, NULL));
	EQ(recv(p[1], b, 20, MSG_WAITALL), 2);
	/* of sending */
	static char big[1000000];
	tv.tv_usec = 60000;
	OK(setsockopt(p[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv));
	start();
	ssize_t n = send(p[0], big, sizeof big, 0);
	CHECK(n > 1000 && n < (ssize_t)sizeof big && took(0.05));
	ERR(send(p[0], big, 1, 0) == 1 ? send(p[0], big, sizeof big, 0) > 0 ? (errno = EAGAIN, -1) : -1 : -1, EAGAIN);
	/* of accepting and connecting */
	int s = t_listen(SOCK_STREAM, "srv", 0);
	OK(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	start();
	ERR(accept(s, NULL, NULL), EAGAIN);
	CHECK(took(0.05));
	int c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(t_connect(c, "srv"));
	int d = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(setsockopt(d, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv));
	start();
	ERR(t_connect(d, "srv"), EAGAIN);
	CHECK(took(0.05));
	close(OK(accept(s, NULL, NULL)));
	OK(t_connect(d, "srv"));
	/* messages */
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p));
	EQ(write(p[0], "one", 3), 3);
	EQ(write(p[0], "two", 3), 3);
	EQ(recv(p[1], b, 9, MSG_PEEK), 3);
	EQ(recv(p[1], b, 9, MSG_PEEK), 3);
	EQ(memcmp(b, "one", 3), 0);
	EQ(recv(p[1], b, 9, MSG_WAITALL), 3);
	EQ(recv(p[1], b, 9, 0), 3);
	EQ(memcmp(b, "two", 3), 0);
	say("ok");
	return 0;
}
