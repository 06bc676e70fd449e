// open(2): O_CREAT, O_EXCL, O_TRUNC, O_APPEND and the errno of each refusal.
#include "t.h"
int main(void)
{
	ERR(open("none", O_RDONLY), ENOENT);
	ERR(open("", O_RDONLY), ENOENT);
	ERR(open("none/x", O_CREAT | O_RDWR, 0600), ENOENT);
	int fd = OK(open("a", O_CREAT | O_EXCL | O_RDWR, 0640));
	ERR(open("a", O_CREAT | O_EXCL | O_RDWR, 0640), EEXIST);
	EQ(write(fd, "hello", 5), 5);
	ERR(open("a/b", O_RDONLY), ENOTDIR);
	ERR(open("a/", O_RDONLY), ENOTDIR);
	ERR(open("a", O_RDONLY | O_DIRECTORY), ENOTDIR);
	ERR(open(".", O_WRONLY), EISDIR);
	ERR(open(".", O_RDWR), EISDIR);
	ERR(open(".", O_RDONLY | O_CREAT, 0600), EISDIR);
	ERR(open("new/", O_CREAT | O_WRONLY, 0600), EISDIR);
	struct stat st;
	int t = OK(open("a", O_WRONLY | O_TRUNC));
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, 0);
	EQ(st.st_mode, S_IFREG | 0640);
	int ap = OK(open("a", O_WRONLY | O_APPEND));
	EQ(write(t, "12345", 5), 5);
	EQ(write(ap, "67", 2), 2);
	EQ(lseek(ap, 0, SEEK_CUR), 7);
	EQ(pwrite(ap, "8", 1, 0), 1); /* Linux: O_APPEND wins over the offset */
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, 8);
	ERR(write(OK(open("a", O_RDONLY)), "x", 1), EBADF);
	char c;
	ERR(read(t, &c, 1), EBADF);
	ERR(open("a", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
	char longname[300];
	memset(longname, 'n', sizeof longname);
	longname[255] = 0;
	OK(close(OK(open(longname, O_CREAT | O_RDWR, 0600))));
	longname[255] = 'n';
	longname[256] = 0;
	ERR(open(longname, O_CREAT | O_RDWR, 0600), ENAMETOOLONG);
	say("open flags ok");
}
