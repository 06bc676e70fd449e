// needs: root
// sockets: names on a disk's file system, on a tmpfs of its own, and on one that cannot be written.
#include "sock.h"
#include <sys/mount.h>

static void try(const char *dir)
{
	struct stat st;
	char b[8];
	OK(chdir(dir));
	umask(077);
	int s = t_listen(SOCK_STREAM, "t-sock", 5), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	OK(lstat("t-sock", &st));
	EQ(st.st_mode, S_IFSOCK | 0700);
	EQ(st.st_size, 0);
	EQ(st.st_nlink, 1);
	OK(t_connect(c, "t-sock"));
	int a = OK(accept(s, NULL, NULL));
	EQ(write(c, "x", 1), 1);
	EQ(read(a, b, 8), 1);
	/* the inode lives while the socket does, whatever happens to its names */
	OK(rename("t-sock", "t-sock2"));
	OK(link("t-sock2", "t-sock3"));
	OK(unlink("t-sock2"));
	OK(t_connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), "t-sock3"));
	OK(unlink("t-sock3"));
	ERR(t_connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), "t-sock3"), ENOENT);
	/* what is left of a socket is a file like others */
	OK(t_bind(OK(socket(AF_UNIX, SOCK_DGRAM, 0)), "t-sock"));
	OK(chmod("t-sock", 0640));
	OK(lstat("t-sock", &st));
	EQ(st.st_mode, S_IFSOCK | 0640);
	OK(unlink("t-sock"));
	OK(mknod("t-sock", S_IFSOCK | 0777, 0));
	ERR(t_connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), "t-sock"), ECONNREFUSED);
	OK(unlink("t-sock"));
	for (int i = 3; i < 40; i++)
		close(i);
}

int main(void)
{
	char here[4096], disk[] = "/t-sock-XXXXXX";
	CHECK(getcwd(here, sizeof here));
	CHECK(mkdtemp(disk));
	try(disk);
	OK(chdir(here));
	OK(rmdir(disk));
	OK(mkdir("m", 0755));
	OK(mount("none", "m", "tmpfs", 0, NULL));
	try("m");
	OK(chdir(here));
	/* a socket keeps its file system in use */
	int s = t_listen(SOCK_STREAM, "m/s", 5);
	ERR(umount("m"), EBUSY);
	/* connecting to what cannot be written to is no writing of the file system */
	int r = mount("none", "m", NULL, MS_REMOUNT | MS_RDONLY, NULL);
	EQ(r, 0);
	OK(t_connect(OK(socket(AF_UNIX, SOCK_STREAM, 0)), "m/s"));
	ERR(t_bind(OK(socket(AF_UNIX, SOCK_STREAM, 0)), "m/new"), EROFS);
	ERR(t_bind(OK(socket(AF_UNIX, SOCK_STREAM, 0)), "m/s"), EADDRINUSE);
	close(s);
	OK(umount("m"));
	say("ok");
	return 0;
}
