// needs: root
// sockets: an ordinary user may have as many descriptors in flight as open ones.
#include "sock.h"

int main(void)
{
	IN_CHILD({
		OK(setgid(4242));
		OK(setuid(4242));
		struct rlimit rl = { 100, 100 };
		OK(setrlimit(RLIMIT_NOFILE, &rl));
		int p[2];
		int fds[50];
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
		for (int i = 0; i < 50; i++)
			fds[i] = 0;
		int sent = 0;
		while (t_send_fds(p[0], "x", 1, fds, 50, MSG_DONTWAIT) == 1)
			CHECK(++sent < 20);
		EQ(errno, ETOOMANYREFS);
		EQ(sent, 3); /* 0, 50 and 100 were not too many */
		ERR(t_send_fds(p[0], "x", 1, fds, 1, MSG_DONTWAIT), ETOOMANYREFS);
		EQ(write(p[0], "plain", 5), 5);
		/* what is received counts no more */
		char b[16];
		EQ(read(p[1], b, 1), 1);
		EQ(read(p[1], b, 1), 1);
		EQ(t_send_fds(p[0], "x", 1, fds, 1, MSG_DONTWAIT), 1);
		close(p[0]);
		close(p[1]);
		OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
		for (int i = 0; i < 2; i++)
			EQ(t_send_fds(p[0], "x", 1, fds, 50, MSG_DONTWAIT), 1);
	});
	say("ok");
	return 0;
}
