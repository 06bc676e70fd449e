// /proc/self/fd: what the links look like, and what opening them gives.
#include "t.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
static char path[64], text[128];
static struct stat st;
static const char *link_of(int fd)
{
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ssize_t n = OK(readlink(path, text, sizeof text - 1));
	text[n] = 0;
	return text;
}
int main(void)
{
	int p[2];
	OK(pipe(p));
	OK(fstat(p[0], &st));
	char want[64];
	snprintf(want, sizeof want, "pipe:[%lu]", (unsigned long)st.st_ino);
	EQ(strcmp(link_of(p[0]), want), 0);
	EQ(strcmp(link_of(p[1]), want), 0);
	OK(lstat(path, &st));
	EQ(st.st_mode, S_IFLNK | 0300);
	EQ(st.st_size, 64);
	OK(lstat("/proc/self/exe", &st));
	EQ(st.st_size, 0);
	OK(lstat("/proc/self/ns/pid", &st));
	EQ(st.st_size, 0);

	// The other end of a pipe through this end's link.
	link_of(p[0]);
	int w = OK(open(path, O_WRONLY));
	EQ(write(w, "again", 5), 5);
	EQ(read(p[0], text, sizeof text), 5);

	// A file gets a description of its own.
	t_write("f", "0123456789");
	int f = OK(open("f", O_RDONLY));
	EQ(lseek(f, 5, SEEK_SET), 5);
	link_of(f);
	int g = OK(open(path, O_RDWR));
	EQ(lseek(g, 0, SEEK_CUR), 0);
	OK(unlink("f"));
	EQ(strcmp(link_of(f) + strlen(text) - 12, "/f (deleted)"), 0);
	g = OK(open(path, O_RDONLY));
	EQ(read(g, text, 3), 3);

	// What has no inode of its own cannot be opened again.
	int odd[] = {OK(eventfd(0, 0)), OK(epoll_create1(0)), OK(timerfd_create(CLOCK_MONOTONIC, 0))};
	const char *names[] = {"anon_inode:[eventfd]", "anon_inode:[eventpoll]", "anon_inode:[timerfd]"};
	for (int i = 0; i < 3; i++) {
		EQ(strcmp(link_of(odd[i]), names[i]), 0);
		ERR(open(path, O_RDWR), geteuid() == 0 ? ENXIO : EACCES);
	}
	int o_path = OK(open(path, O_PATH));
	ERR(read(o_path, text, 1), EBADF);
	int m = OK(memfd_create("name", 0));
	EQ(strcmp(link_of(m), "/memfd:name (deleted)"), 0);
	OK(open(path, O_RDWR));
	say("fd links ok");
}
