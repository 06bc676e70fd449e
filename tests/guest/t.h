/* What every guest program shares: checks that name the place that failed, and
 * a few helpers for children. Output goes out unbuffered so that a fork never
 * duplicates it and a crash never loses it. */
#ifndef T_H
#define T_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL

static inline void t_fail(const char *file, int line, const char *what, long got, int err)
{
	const char *base = strrchr(file, '/');
	char msg[512];
	int n = snprintf(msg, sizeof msg, "%s:%d: %s: got %ld, errno %d (%s)\n", base ? base + 1 : file,
			 line, what, got, err, strerror(err));
	if (write(2, msg, n) != n)
		_exit(2);
	_exit(1);
}

/* The expression is true. */
#define CHECK(e) do { if (!(e)) t_fail(__FILE__, __LINE__, #e, 0, errno); } while (0)
/* The call succeeds (anything but -1); its value is the value of OK(). */
#define OK(call) ({ \
	__typeof__(call) r_ = (call); \
	if (r_ == (__typeof__(call))-1) \
		t_fail(__FILE__, __LINE__, #call, -1, errno); \
	r_; })
/* The call returns exactly this. */
#define EQ(call, want) do { \
	long r_ = (long)(call), w_ = (long)(want); \
	if (r_ != w_) \
		t_fail(__FILE__, __LINE__, #call " == " #want, r_, errno); \
	} while (0)
/* The call fails with this errno. */
#define ERR(call, e) do { \
	errno = 0; \
	long r_ = (long)(call); \
	if (r_ != -1 || errno != (e)) \
		t_fail(__FILE__, __LINE__, #call " fails with " #e, r_, errno); \
	} while (0)

__attribute__((constructor)) static void t_init(void) { setvbuf(stdout, NULL, _IONBF, 0); }

static inline void say(const char *s) { puts(s); }

/* Makes a file with this text. */
__attribute__((unused)) static void t_write(const char *path, const char *text)
{
	int fd = OK(open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644));
	EQ(write(fd, text, strlen(text)), strlen(text));
	OK(close(fd));
}

/* Waits for this child and demands exit status 0. */
__attribute__((unused)) static void t_reap(pid_t pid)
{
	int st;
	EQ(waitpid(pid, &st, 0), pid);
	if (st != 0)
		t_fail(__FILE__, __LINE__, "child status is 0", st, 0);
}

/* Runs body in a child that must exit 0. */
#define IN_CHILD(...) do { \
	pid_t p_ = OK(fork()); \
	if (p_ == 0) { \
		__VA_ARGS__; \
		_exit(0); \
	} \
	t_reap(p_); \
	} while (0)

__attribute__((unused)) static void t_msleep(int ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000L };
	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

__attribute__((unused)) static double t_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

__attribute__((unused)) static void t_on(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };
	OK(sigaction(sig, &sa, NULL));
}

__attribute__((unused)) static void t_on_info(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = flags | SA_SIGINFO };
	OK(sigaction(sig, &sa, NULL));
}

/* State letter of a process (R S D T t Z), read from /proc; 0 if it is gone. */
__attribute__((unused)) static int t_state(pid_t pid)
{
	char path[64], buf[512];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, buf, sizeof buf - 1);
	close(fd);
	if (n <= 0)
		return 0;
	buf[n] = 0;
	char *p = strrchr(buf, ')');
	return p ? p[2] : 0;
}

/* Waits until the process is in this state (at most five seconds). */
__attribute__((unused)) static void t_until(pid_t pid, int state)
{
	for (int i = 0; i < 5000; i++) {
		if (t_state(pid) == state)
			return;
		t_msleep(1);
	}
	t_fail(__FILE__, __LINE__, "process reaches the state", state, ETIMEDOUT);
}

/* A process stopped in sleep: the usual way to let another one get into a blocking call. */
__attribute__((unused)) static void t_until_asleep(pid_t pid) { t_until(pid, 'S'); }
#endif
