// inotify: create, modify, close, move, delete and self events in order.
#include "t.h"
#include <sys/inotify.h>
static int in;
static void drain(const char *what)
{
	char buf[4096] __attribute__((aligned(8)));
	ssize_t n = read(in, buf, sizeof buf);
	printf("%s:", what);
	for (ssize_t o = 0; o < n;) {
		struct inotify_event *e = (void *)(buf + o);
		printf(" %x%s%s%s", e->mask, e->cookie ? "c" : "", e->len ? "=" : "", e->len ? e->name : "");
		o += sizeof *e + e->len;
	}
	puts("");
}
int main(void)
{
	in = OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
	OK(mkdir("d", 0700));
	int wd = OK(inotify_add_watch(in, "d", IN_ALL_EVENTS & ~IN_ACCESS));
	char b[4];
	ERR(read(in, b, 4), EAGAIN);
	int fd = OK(open("d/a", O_CREAT | O_RDWR, 0600));
	EQ(write(fd, "x", 1), 1);
	OK(close(fd));
	drain("create");
	OK(close(OK(open("d/a", O_RDONLY))));
	drain("read");
	OK(close(OK(open("d/a", O_WRONLY | O_TRUNC))));
	drain("trunc");
	OK(rename("d/a", "d/b"));
	drain("rename");
	OK(chmod("d/b", 0640));
	drain("chmod");
	OK(mkdir("d/s", 0700));
	OK(rmdir("d/s"));
	drain("dir");
	OK(unlink("d/b"));
	drain("unlink");
	OK(rmdir("d"));
	drain("self");
	ERR(inotify_rm_watch(in, wd), EINVAL);
	ERR(inotify_add_watch(in, "none", IN_CREATE), ENOENT);
	ERR(inotify_add_watch(in, ".", 0), EINVAL);
}
