/* guestbench: what the basic operations of a kernel cost. One static program that
 * runs unchanged on the host and in a guest, so that the two can be divided.
 *
 *   cc -O2 -static -pthread -o guestbench guestbench.c
 *   guestbench [-d DIR] [GROUP...]      DIR is where its files go (/tmp)
 *
 * Each figure is one line, NAME VALUE UNIT. ns, us: the less the better; MB/s: the more.
 *
 * How it measures: a body is repeated in batches that grow until one lasts a
 * quarter of a second, and only that batch counts. So figures of 100 ns and of 10 ms
 * have the same relative error, and slow kernels do not take for ever.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, KiB = 1024, MiB = 1024 * 1024 };
static const char *workdir = "/tmp";
static const char *own_path;

static int64_t nanos(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* A body did not do what it measures: the figure would be a lie. */
static void need(int ok, const char *what)
{
	if (ok)
		return;
	printf("%-22s FAILED %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

static void put(const char *name, double value, const char *unit)
{
	printf("%-22s %12.2f %s\n", name, value, unit);
	fflush(stdout);
}

typedef void body(void *);

/* Nanoseconds that one call of the body takes. */
static double cost(body *once, void *arg)
{
	const int64_t enough = 250000000;
	for (int64_t batch = 1;;) {
		int64_t start = nanos();
		for (int64_t i = 0; i < batch; i++)
			once(arg);
		int64_t took = nanos() - start;
		if (took >= enough || batch >= 1LL << 30)
			return (double)took / batch;
		/* Far off: grow fast. Near: aim a third beyond what is needed. */
		batch = took < enough / 25 ? batch * 8 : batch * (enough * 1.35 / took) + 1;
	}
}

static void in_ns(const char *name, body *b, void *a) { put(name, cost(b, a), "ns"); }
static void in_us(const char *name, body *b, void *a) { put(name, cost(b, a) / 1e3, "us"); }
static void in_pages(const char *name, body *b, void *a, long pages) { put(name, cost(b, a) / pages, "ns/page"); }
static void in_mbs(const char *name, body *b, void *a, double bytes) { put(name, bytes / cost(b, a) * 1e3, "MB/s"); }

static char *file_name(const char *leaf)
{
	static char name[600];
	snprintf(name, sizeof name, "%s/%s.%d", workdir, leaf, (int)getpid());
	return name;
}

/* --- the processor alone: what should not change at all --- */
static void multiply(void *a)
{
	volatile uint64_t x = 1;
	for (int i = 0; i < 1000000; i++)
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
}
static void cpu(void) { in_us("cpu_1M_mul", multiply, NULL); }

/* --- bare calls --- */
static void ask_parent(void *a) { syscall(SYS_getppid); }
static void bare_call(void) { in_ns("syscall_getppid", ask_parent, NULL); }

static void ask_clock(void *a)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
}
static void the_clock(void) { in_ns("clock_gettime", ask_clock, NULL); }

static void read_one(void *fd)
{
	char c;
	need(read(*(int *)fd, &c, 1) == 1, "read_dev_zero");
}
static void write_one(void *fd) { need(write(*(int *)fd, "", 1) == 1, "write_dev_null"); }
static void devices(void)
{
	int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
	need(zero >= 0 && null >= 0, "dev_read");
	in_ns("read_dev_zero", read_one, &zero);
	in_ns("write_dev_null", write_one, &null);
}

/* --- names --- */
static void look(void *name)
{
	struct stat st;
	need(stat(name, &st) == 0, "stat");
}
static void open_and_close(void *name)
{
	int fd = open(name, O_RDONLY);
	need(fd >= 0, "open_close");
	close(fd);
}
static void make_and_remove(void *name)
{
	int fd = open(name, O_CREAT | O_RDWR, 0600);
	need(fd >= 0, "create_unlink");
	close(fd);
	unlink(name);
}
static void names(void)
{
	char *name = file_name("names");
	int fd = open(name, O_CREAT | O_RDWR, 0600);
	need(fd >= 0, "stat");
	close(fd);
	in_ns("stat", look, name);
	in_ns("open_close", open_and_close, name);
	unlink(name);
	in_us("create_unlink", make_and_remove, name);
}

/* --- signals and switches --- */
static void nothing_to_do(int s) { (void)s; }
static void to_myself(void *pid) { kill(*(pid_t *)pid, SIGUSR1); }
static void signals(void)
{
	struct sigaction sa = { .sa_handler = nothing_to_do };
	pid_t me = getpid();
	sigaction(SIGUSR1, &sa, NULL);
	in_ns("signal_self", to_myself, &me);
}

struct two_ways { int out, in; };
static void there_and_back(void *a)
{
	struct two_ways *w = a;
	char c = 0;
	need(write(w->out, &c, 1) == 1 && read(w->in, &c, 1) == 1, "pingpong");
}
static void pipes(void)
{
	int ask[2], answer[2];
	need(pipe(ask) == 0 && pipe(answer) == 0, "pipe_pingpong");
	pid_t peer = fork();
	if (peer == 0) {
		char c;
		close(ask[1]);
		while (read(ask[0], &c, 1) == 1 && write(answer[1], &c, 1) == 1)
			;
		_exit(0);
	}
	struct two_ways w = { ask[1], answer[0] };
	in_us("pipe_pingpong", there_and_back, &w);
	kill(peer, SIGKILL);
	waitpid(peer, NULL, 0);
}

/* The word counts hand-overs: odd values are the peer's to answer. */
static _Atomic uint32_t word;
static _Atomic int over;
static void wait_while(uint32_t seen) { syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0); }
static void wake_one(void) { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }
static void *answer_futex(void *a)
{
	for (;;) {
		uint32_t v = atomic_load(&word);
		if (over)
			return a;
		if (v & 1) {
			atomic_store(&word, v + 1);
			wake_one();
		} else {
			wait_while(v);
		}
	}
}
static void futex_round(void *a)
{
	uint32_t v = atomic_load(&word) + 1;
	atomic_store(&word, v);
	wake_one();
	while (atomic_load(&word) == v)
		wait_while(v);
}
static void futexes(void)
{
	pthread_t t;
	need(pthread_create(&t, NULL, answer_futex, NULL) == 0, "futex_pingpong");
	in_us("futex_pingpong", futex_round, NULL);
	over = 1;
	atomic_fetch_add(&word, 2);
	wake_one();
	pthread_join(t, NULL);
}

/* --- threads and processes --- */
static void *idle_thread(void *a) { return a; }
static void one_thread(void *a)
{
	pthread_t t;
	need(pthread_create(&t, NULL, idle_thread, NULL) == 0, "thread_create");
	pthread_join(t, NULL);
}
static void threads(void) { in_us("thread_create", one_thread, NULL); }

static void reap(pid_t pid, const char *what)
{
	int st;
	need(pid > 0 && waitpid(pid, &st, 0) == pid && st == 0, what);
}
static void one_fork(void *a)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	reap(pid, "fork");
}
static void forks(void)
{
	in_us("fork_exit_wait", one_fork, NULL);
	/* The same with 64 MiB of touched memory to copy or to share. */
	char *m = mmap(NULL, 64 * MiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(m != MAP_FAILED, "fork_64MB");
	memset(m, 1, 64 * MiB);
	in_us("fork_64MB", one_fork, NULL);
}
static void one_exec(void *argv)
{
	static char *no_env[] = { NULL };
	char **av = argv;
	pid_t pid = vfork();
	if (pid == 0) {
		execve(av[0], av + 1, no_env);
		_exit(127);
	}
	reap(pid, "exec");
}
static void execs(void)
{
	char *me[] = { (char *)own_path, (char *)own_path, "--exit", NULL };
	char *sh[] = { "/bin/sh", "/bin/sh", "-c", ":", NULL };
	in_us("vfork_exec_wait", one_exec, me);
	if (access("/bin/sh", X_OK) == 0)
		in_us("sh_c_true", one_exec, sh);
}

/* --- memory --- */
static void touch(char *m, size_t len, int write_it)
{
	for (size_t at = 0; at < len; at += PAGE)
		if (write_it)
			((volatile char *)m)[at] = 1;
		else
			(void)((volatile char *)m)[at];
}
static void fill_anonymous(void *len)
{
	size_t n = *(size_t *)len;
	char *m = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(m != MAP_FAILED, "anon_fault");
	touch(m, n, 1);
	munmap(m, n);
}
struct mapped { int fd; size_t len; };
static void read_mapped(void *a)
{
	struct mapped *f = a;
	char *m = mmap(NULL, f->len, PROT_READ, MAP_SHARED, f->fd, 0);
	need(m != MAP_FAILED, "file_fault_cached");
	touch(m, f->len, 0);
	munmap(m, f->len);
}
static void memory(void)
{
	size_t big = 64 * MiB, one = PAGE;
	in_pages("anon_fault", fill_anonymous, &big, big / PAGE);
	in_us("mmap_touch_munmap", fill_anonymous, &one);
	char *name = file_name("mapped"), *data = malloc(MiB);
	struct mapped f = { open(name, O_CREAT | O_RDWR | O_TRUNC, 0600), 16 * MiB };
	need(f.fd >= 0, "file_fault");
	unlink(name);
	memset(data, 7, MiB);
	for (int i = 0; i < 16; i++)
		need(write(f.fd, data, MiB) == MiB, "file_fault");
	in_pages("file_fault_cached", read_mapped, &f, f.len / PAGE);
}

/* --- file data --- */
struct stream { int fd; char *data; };
enum { CHUNK = 64 * KiB, FILE_SIZE = 64 * MiB };
static void rewrite_all(void *a)
{
	struct stream *s = a;
	lseek(s->fd, 0, SEEK_SET);
	for (int n = 0; n < FILE_SIZE / CHUNK; n++)
		need(write(s->fd, s->data, CHUNK) == CHUNK, "file_rewrite_64k");
}
static void read_all(void *a)
{
	struct stream *s = a;
	lseek(s->fd, 0, SEEK_SET);
	for (int n = 0; n < FILE_SIZE / CHUNK; n++)
		need(read(s->fd, s->data, CHUNK) == CHUNK, "file_read_64k");
}
static off_t anywhere(void) { return random() % (FILE_SIZE / PAGE) * (off_t)PAGE; }
static void read_page(void *a)
{
	struct stream *s = a;
	need(pread(s->fd, s->data, PAGE, anywhere()) == PAGE, "file_pread_4k");
}
static void commit_page(void *a)
{
	struct stream *s = a;
	need(pwrite(s->fd, s->data, PAGE, anywhere()) == PAGE && fsync(s->fd) == 0, "pwrite_4k_fsync");
}
static void file_data(void)
{
	char *name = file_name("data");
	struct stream s = { open(name, O_CREAT | O_RDWR | O_TRUNC, 0600), malloc(CHUNK) };
	need(s.fd >= 0, "file");
	unlink(name);
	memset(s.data, 5, CHUNK);
	in_mbs("file_rewrite_64k", rewrite_all, &s, FILE_SIZE);
	in_mbs("file_read_64k", read_all, &s, FILE_SIZE);
	in_ns("file_pread_4k", read_page, &s);
	in_us("pwrite_4k_fsync", commit_page, &s);
}

/* --- waiting for events --- */
struct polled { int ep, in, out; };
static void one_event(void *a)
{
	struct polled *p = a;
	struct epoll_event ev;
	char c = 0;
	need(write(p->out, &c, 1) == 1 && epoll_wait(p->ep, &ev, 1, -1) == 1 && read(p->in, &c, 1) == 1, "pipe_epoll_cycle");
}
static void events(void)
{
	int fds[2];
	struct epoll_event ev = { .events = EPOLLIN };
	struct polled p = { .ep = epoll_create1(0) };
	need(p.ep >= 0 && pipe(fds) == 0, "pipe_epoll_cycle");
	p.in = fds[0];
	p.out = fds[1];
	need(epoll_ctl(p.ep, EPOLL_CTL_ADD, p.in, &ev) == 0, "pipe_epoll_cycle");
	in_ns("pipe_epoll_cycle", one_event, &p);
}

/* --- sockets: a peer that first echoes bytes, then takes data and confirms each 32 MiB --- */
enum { LOAD = 32 * MiB };
static void peer_loop(int s)
{
	char c, *data = malloc(CHUNK);
	size_t have = 0;
	ssize_t n;
	while (read(s, &c, 1) == 1 && c == 'e')
		if (write(s, &c, 1) != 1)
			_exit(1);
	while ((n = read(s, data, CHUNK)) > 0)
		for (have += n; have >= LOAD; have -= LOAD)
			if (write(s, &c, 1) != 1)
				_exit(1);
	_exit(0);
}
static void echo_byte(void *fd)
{
	char c = 'e';
	need(write(*(int *)fd, &c, 1) == 1 && read(*(int *)fd, &c, 1) == 1, "socket_pingpong");
}
static void send_load(void *a)
{
	struct stream *s = a;
	char c;
	for (size_t left = LOAD; left;) {
		ssize_t n = write(s->fd, s->data, left < CHUNK ? left : CHUNK);
		need(n > 0, "socket_stream");
		left -= n;
	}
	need(read(s->fd, &c, 1) == 1, "socket_stream");
}
static void socket_pair(int mine, int theirs, const char *latency, const char *bandwidth)
{
	pid_t peer = fork();
	if (peer == 0) {
		close(mine);
		peer_loop(theirs);
	}
	close(theirs);
	struct stream s = { mine, calloc(1, CHUNK) };
	in_us(latency, echo_byte, &mine);
	need(write(mine, "d", 1) == 1, "socket_stream");
	in_mbs(bandwidth, send_load, &s, LOAD);
	close(mine);
	kill(peer, SIGKILL);
	waitpid(peer, NULL, 0);
}
static void unix_sockets(void)
{
	int v[2];
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, v) == 0, "unix");
	socket_pair(v[0], v[1], "unix_pingpong", "unix_stream");
}
struct server { int fd; struct sockaddr_in at; };
static int serve(struct server *s)
{
	socklen_t len = sizeof s->at;
	s->at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	return s->fd >= 0 && bind(s->fd, (void *)&s->at, len) == 0 && listen(s->fd, 64) == 0 &&
	       getsockname(s->fd, (void *)&s->at, &len) == 0;
}
static int join(struct server *s, int *other)
{
	int one = 1, c = socket(AF_INET, SOCK_STREAM, 0);
	if (c < 0 || connect(c, (void *)&s->at, sizeof s->at) != 0 || (*other = accept(s->fd, NULL, NULL)) < 0)
		return -1;
	setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(*other, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return c;
}
static void connect_once(void *a)
{
	/* A reset at the end keeps thousands of these from piling up in TIME_WAIT. */
	struct linger reset = { 1, 0 };
	int other, c = join(a, &other);
	need(c >= 0, "tcp_connect");
	setsockopt(c, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	close(c);
	close(other);
}
static void tcp(void)
{
	struct server s;
	int other, c;
	need(serve(&s) && (c = join(&s, &other)) >= 0, "tcp");
	socket_pair(c, other, "tcp_pingpong", "tcp_stream");
	in_us("tcp_connect", connect_once, &s);
}

static const struct { const char *name; void (*run)(void); } groups[] = {
	{ "cpu", cpu }, { "syscall", bare_call }, { "clock", the_clock }, { "null", devices }, { "stat", names },
	{ "signal", signals }, { "pipe", pipes }, { "futex", futexes }, { "thread", threads }, { "fork", forks },
	{ "exec", execs }, { "fault", memory }, { "file", file_data }, { "epoll", events }, { "unix", unix_sockets }, { "tcp", tcp },
};

int main(int argc, char **argv)
{
	int at = 1;
	if (argc == 2 && strcmp(argv[1], "--exit") == 0)
		_exit(0);
	own_path = argv[0][0] == '/' ? argv[0] : "/proc/self/exe";
	if (argc > 2 && strcmp(argv[1], "-d") == 0) {
		workdir = argv[2];
		at = 3;
	}
	signal(SIGPIPE, SIG_IGN);
	for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
		int wanted = at >= argc;
		for (int i = at; i < argc; i++)
			wanted |= strcmp(argv[i], groups[g].name) == 0;
		if (!wanted)
			continue;
		/* A process of its own for each group: one that hangs or dies costs its own figures only. */
		int st;
		pid_t pid = fork();
		if (pid == 0) {
			alarm(60);
			groups[g].run();
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &st, 0) != pid || st != 0) {
			printf("%-22s FAILED status %x\n", groups[g].name, st);
			fflush(stdout);
		}
	}
	return 0;
}
