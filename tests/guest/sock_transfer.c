// seconds: 60
// sockets: much data in odd pieces through streams, both ways at once, and messages by several processes.
#include "sock.h"
#include <pthread.h>

static unsigned rnd(unsigned *s) { return *s = *s * 1664525 + 1013904223; }
static unsigned char byte_at(unsigned long i) { return i * 131 + (i >> 8) * 7 + (i >> 16); }

struct job { int fd; unsigned seed; unsigned long total; };

static void *writer(void *arg)
{
	struct job *j = arg;
	static __thread unsigned char b[70000];
	unsigned long n = 0;
	unsigned s = j->seed;
	while (n < j->total) {
		unsigned len = rnd(&s) % (s & 64 ? 70000 : 300) + 1;
		if (len > j->total - n)
			len = j->total - n;
		for (unsigned i = 0; i < len; i++)
			b[i] = byte_at(n + i);
		for (unsigned o = 0; o < len;) {
			ssize_t r = write(j->fd, b + o, len - o);
			CHECK(r > 0);
			o += r;
		}
		n += len;
	}
	OK(shutdown(j->fd, SHUT_WR));
	return NULL;
}

static void *reader(void *arg)
{
	struct job *j = arg;
	static __thread unsigned char b[70000];
	unsigned long n = 0;
	unsigned s = j->seed;
	for (;;) {
		unsigned len = rnd(&s) % (s & 64 ? 70000 : 300) + 1;
		ssize_t r = read(j->fd, b, len);
		CHECK(r >= 0);
		if (r == 0)
			break;
		for (ssize_t i = 0; i < r; i++)
			CHECK(b[i] == byte_at(n + i));
		n += r;
	}
	EQ(n, j->total);
	return NULL;
}

int main(void)
{
	int p[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
	/* two processes, each with a reader and a writer */
	pid_t k = OK(fork());
	int mine = k == 0;
	close(p[!mine]);
	struct job w = { p[mine], 1 + mine, 6000000 + mine * 12345 }, r = { p[mine], 7 + mine, 6000000 + !mine * 12345 };
	pthread_t t;
	EQ(pthread_create(&t, NULL, writer, &w), 0);
	reader(&r);
	EQ(pthread_join(t, NULL), 0);
	if (k == 0)
		_exit(0);
	t_reap(k);
	close(p[mine]);

	/* many senders of datagrams, one receiver: all arrive whole, each sender's in order */
	int s = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	OK(t_bind(s, "srv"));
	for (int i = 0; i < 4; i++)
		if (OK(fork()) == 0) {
			int c = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
			OK(t_connect(c, "srv"));
			unsigned m[3] = { i, 0, 0 };
			for (int n = 0; n < 500; n++) {
				m[1] = n;
				m[2] = n * 17 + i;
				EQ(send(c, m, sizeof m, 0), sizeof m);
			}
			_exit(0);
		}
	unsigned last[4] = { 0 }, m[4];
	for (int n = 0; n < 2000; n++) {
		EQ(recv(s, m, sizeof m, 0), 12);
		CHECK(m[0] < 4 && m[1] == last[m[0]]++ && m[2] == m[1] * 17 + m[0]);
	}
	for (int i = 0; i < 4; i++) {
		int st;
		CHECK(wait(&st) > 0 && st == 0);
	}
	/* many connections, a worker for each of a pool */
	int l = t_listen(SOCK_STREAM, "pool", 4);
	pid_t kids[3];
	for (int i = 0; i < 3; i++)
		if ((kids[i] = OK(fork())) == 0)
			for (;;) {
				int c = OK(accept(l, NULL, NULL));
				char b[8];
				ssize_t n = read(c, b, 8);
				CHECK(n > 0);
				EQ(write(c, b, n), n);
				close(c);
				if (b[0] == 'q')
					_exit(0);
			}
	for (int i = 0; i < 203; i++) {
		int c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		char b[8], q = i < 200 ? 'a' : 'q';
		OK(t_connect(c, "pool"));
		EQ(write(c, &q, 1), 1);
		EQ(read(c, b, 8), 1);
		CHECK(b[0] == q);
		EQ(read(c, b, 8), 0);
		close(c);
	}
	for (int i = 0; i < 3; i++)
		t_reap(kids[i]);
	say("ok");
	return 0;
}
