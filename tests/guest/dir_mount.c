// needs: root
// mount: tmpfs, bind, read-only remount, umount, busy and detached mounts.
#include "t.h"
#include <sys/mount.h>
int main(void)
{
	OK(mkdir("m", 0755));
	OK(mkdir("b", 0755));
	t_write("m/under", "");
	struct stat dir, top;
	OK(stat("m", &dir));
	OK(mount("none", "m", "tmpfs", 0, "size=1m,mode=0700"));
	OK(stat("m", &top));
	CHECK(dir.st_dev != top.st_dev);
	EQ(top.st_mode, S_IFDIR | 0700);
	ERR(access("m/under", F_OK), ENOENT);
	t_write("m/file", "hello");
	ERR(rename("m/file", "file"), EXDEV);
	ERR(link("m/file", "file"), EXDEV);
	ERR(rmdir("m"), EBUSY);
	OK(mount("m", "b", NULL, MS_BIND, NULL));
	EQ(access("b/file", F_OK), 0);
	OK(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	ERR(open("b/x", O_CREAT | O_RDWR, 0600), EROFS);
	ERR(open("b/file", O_WRONLY), EROFS);
	ERR(unlink("b/file"), EROFS);
	ERR(access("b/file", W_OK), EROFS);
	t_write("m/x", "");
	/* A full tmpfs says so. */
	int fd = OK(open("m/big", O_CREAT | O_RDWR, 0600));
	char buf[65536];
	memset(buf, 1, sizeof buf);
	ssize_t n;
	long total = 0;
	while ((n = write(fd, buf, sizeof buf)) > 0)
		total += n;
	CHECK(errno == ENOSPC);
	CHECK(total > 900000 && total <= 1 << 20);
	ERR(umount("m"), EBUSY);
	OK(close(fd));
	OK(umount("b"));
	int keep = OK(open("m/file", O_RDONLY));
	OK(umount2("m", MNT_DETACH));
	EQ(read(keep, buf, 10), 5);
	EQ(access("m/under", F_OK), 0);
	ERR(umount("m"), EINVAL);
	ERR(mount("none", "m", "nosuchfs", 0, NULL), ENODEV);
	ERR(mount("none", "nodir", "tmpfs", 0, NULL), ENOENT);
	ERR(mount("nodir", "m", NULL, MS_BIND, NULL), ENOENT);
	IN_CHILD(OK(setresuid(1000, 1000, 1000)); ERR(mount("none", "m", "tmpfs", 0, NULL), EPERM));
	say("mount ok");
}
