// The old names and the -at forms of calls: each does what its sibling does, and refuses what it refuses.
#include "t.h"
#include <dirent.h>
#include <sys/sysmacros.h>
#include <utime.h>

static struct stat st;
static struct stat *look(const char *path) { OK(lstat(path, &st)); return &st; }

int main(void)
{
	umask(0);
	int fd = OK(creat("f", 0640));
	ERR(read(fd, &st, 1), EBADF);
	EQ(write(fd, "0123456789", 10), 10);
	EQ(look("f")->st_mode, S_IFREG | 0640);
	OK(close(OK(creat("f", 0777))));
	EQ(look("f")->st_size, 0); // made empty, mode kept
	EQ(st.st_mode & 07777, 0640);

	EQ(pwrite(fd, "abcdef", 6, 4), 6);
	fd = OK(open("f", O_RDWR));
	char b[16] = {0};
	EQ(pread(fd, b, sizeof b, 2), 8);
	EQ(memcmp(b, "\0\0abcdef", 8), 0);
	EQ(pread(fd, b, sizeof b, 10), 0);
	ERR(pread(fd, b, 1, -1), EINVAL);
	ERR(pwrite(fd, b, 1, -1), EINVAL);
	EQ(lseek(fd, 0, SEEK_CUR), 0);
	int p[2];
	OK(pipe(p));
	ERR(pread(p[0], b, 1, 0), ESPIPE);
	ERR(pwrite(p[1], b, 1, 0), ESPIPE);

	OK(fdatasync(fd));
	ERR(fdatasync(p[0]), EINVAL);
	ERR(fdatasync(99), EBADF);
	OK(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	ERR(sync_file_range(fd, -1, 0, 0), EINVAL);
	ERR(sync_file_range(fd, 0, 0, 8), EINVAL);
	ERR(sync_file_range(p[0], 0, 0, 0), ESPIPE);
	OK(readahead(fd, 0, 4096));
	ERR(readahead(p[0], 0, 4096), EINVAL);
	int wr = OK(open("f", O_WRONLY));
	ERR(readahead(wr, 0, 4096), EBADF);
	EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
	EQ(posix_fadvise(fd, 0, 0, 77), EINVAL);
	EQ(posix_fadvise(p[0], 0, 0, POSIX_FADV_NORMAL), ESPIPE);
	EQ(posix_fadvise(fd, 0, -1, POSIX_FADV_NORMAL), EINVAL);

	OK(mkdir("d", 0700));
	int d = OK(open("d", O_RDONLY | O_DIRECTORY));
	OK(mknodat(d, "fifo", S_IFIFO | 0600, 0));
	EQ(look("d/fifo")->st_mode, S_IFIFO | 0600);
	ERR(mknodat(d, "fifo", S_IFIFO | 0600, 0), EEXIST);
	OK(mknodat(d, "reg", 0644, 0));
	EQ(look("d/reg")->st_mode, S_IFREG | 0644);
	ERR(mknodat(d, "dir", S_IFDIR | 0644, 0), EPERM);
	OK(symlinkat("reg", d, "link"));
	ERR(symlinkat("reg", d, "link"), EEXIST);
	ERR(symlinkat("", d, "other"), ENOENT);
	OK(renameat(d, "reg", AT_FDCWD, "moved"));
	ERR(renameat(d, "reg", d, "x"), ENOENT);
	OK(renameat(AT_FDCWD, "moved", d, "reg"));
	EQ(syscall(SYS_faccessat, d, "reg", R_OK), 0);
	ERR(syscall(SYS_faccessat, d, "none", F_OK), ENOENT);
	ERR(syscall(SYS_faccessat, d, "reg", 8), EINVAL);

	struct timeval tv[2] = {{1000, 5}, {2000, 999999}};
	OK(syscall(SYS_utimes, "f", tv));
	EQ(look("f")->st_atim.tv_sec, 1000);
	EQ(st.st_mtim.tv_nsec, 999999000);
	tv[0].tv_usec = 1000000;
	ERR(syscall(SYS_utimes, "f", tv), EINVAL);
	tv[0].tv_usec = 7;
	OK(syscall(SYS_futimesat, d, "reg", tv));
	EQ(look("d/reg")->st_atim.tv_nsec, 7000);
	struct utimbuf u = {11, 22};
	OK(syscall(SYS_utime, "f", &u));
	EQ(look("f")->st_atime, 11);
	EQ(st.st_mtime, 22);
	OK(syscall(SYS_utime, "f", NULL));
	CHECK(look("f")->st_mtime > 1000000);

	OK(syscall(SYS_newfstatat, d, "link", &st, AT_SYMLINK_NOFOLLOW));
	CHECK(S_ISLNK(st.st_mode));
	OK(syscall(SYS_newfstatat, d, "", &st, AT_EMPTY_PATH));
	CHECK(S_ISDIR(st.st_mode));
	ERR(syscall(SYS_newfstatat, d, "", &st, 0), ENOENT);
	ERR(syscall(SYS_newfstatat, d, "link", &st, 0x20000), EINVAL);

	OK(fchown(fd, getuid(), getgid()));
	OK(fchown(fd, -1, -1));
	ERR(fchown(99, 0, 0), EBADF);

	// The oldest reading of directories: the type stands in the last byte of a record.
	char dents[1024];
	long n = OK(syscall(SYS_getdents, d, dents, sizeof dents));
	int seen = 0;
	for (long o = 0; o < n;) {
		unsigned short len = *(unsigned short *)(dents + o + 16);
		const char *name = dents + o + 18;
		int type = dents[o + len - 1];
		seen += (!strcmp(name, "fifo") && type == DT_FIFO) + (!strcmp(name, "link") && type == DT_LNK) +
			(!strcmp(name, "reg") && type == DT_REG) + (!strcmp(name, ".") && type == DT_DIR) + !strcmp(name, "..");
		o += len;
	}
	EQ(seen, 5);
	EQ(syscall(SYS_getdents, d, dents, sizeof dents), 0);
	lseek(d, 0, SEEK_SET);
	ERR(syscall(SYS_getdents, d, dents, 8), EINVAL);
	ERR(syscall(SYS_getdents, fd, dents, sizeof dents), ENOTDIR);
	say("old calls ok");
}
