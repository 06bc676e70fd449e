// sockets: sendfile, splice and copying between files, pipes and sockets.
#include "sock.h"
#include <sys/sendfile.h>

int main(void)
{
	static char data[200000], back[200000];
	for (unsigned i = 0; i < sizeof data; i++)
		data[i] = i * 7 + (i >> 9);
	int f = OK(open("file", O_RDWR | O_CREAT, 0600)), s[2], p[2];
	EQ(write(f, data, sizeof data), sizeof data);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	OK(pipe(p));
	pid_t k = OK(fork());
	if (k == 0) {
		close(s[0]);
		size_t n = 0;
		ssize_t r;
		while ((r = read(s[1], back + n, sizeof back - n)) > 0)
			n += r;
		_exit(n != sizeof data || memcmp(data, back, n));
	}
	close(s[1]);
	off_t off = 0;
	while (off < (off_t)sizeof data)
		CHECK(OK(sendfile(s[0], f, &off, sizeof data - off)) > 0);
	close(s[0]);
	t_reap(k);
	/* file, pipe, socket, pipe, file */
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	loff_t at = 5;
	EQ(splice(f, &at, p[1], NULL, 1000, 0), 1000);
	EQ(splice(p[0], NULL, s[0], NULL, 1000, 0), 1000);
	EQ(splice(s[1], NULL, p[1], NULL, 5000, 0), 1000);
	int g = OK(open("copy", O_RDWR | O_CREAT, 0600));
	EQ(splice(p[0], NULL, g, NULL, 1000, 0), 1000);
	EQ(pread(g, back, 1000, 0), 1000);
	EQ(memcmp(back, data + 5, 1000), 0);
	/* a socket cannot be read by sendfile, nor spliced to another one */
	ERR(splice(s[0], NULL, s[1], NULL, 10, 0), EINVAL);
	at = 0;
	ERR(splice(p[0], NULL, s[0], &at, 10, 0), EINVAL);
	ERR(splice(s[1], &at, p[1], NULL, 10, 0), EINVAL);
	ERR(splice(p[0], &at, s[0], NULL, 10, 0), ESPIPE);
	OK(fcntl(s[0], F_SETFL, O_NONBLOCK));
	OK(fcntl(s[1], F_SETFL, O_NONBLOCK));
	ERR(splice(s[1], NULL, p[1], NULL, 10, SPLICE_F_NONBLOCK), EAGAIN);
	/* at the end */
	close(s[0]);
	EQ(splice(s[1], NULL, p[1], NULL, 10, 0), 0);
	EQ(write(p[1], "x", 1), 1);
	signal(SIGPIPE, SIG_IGN);
	ERR(splice(p[0], NULL, s[1], NULL, 10, 0), EPIPE);
	say("ok");
	return 0;
}
