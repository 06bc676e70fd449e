// readv, writev, preadv, pwritev and preadv2 with its flags.
#include "t.h"
int main(void)
{
	int fd = OK(open("v", O_CREAT | O_RDWR, 0600));
	struct iovec w[3] = { { "one,", 4 }, { "", 0 }, { "two", 3 } };
	EQ(writev(fd, w, 3), 7);
	char a[3] = "", b[9] = "";
	struct iovec r[2] = { { a, 2 }, { b, 8 } };
	EQ(preadv(fd, r, 2, 0), 7);
	printf("%s|%s\n", a, b);
	EQ(lseek(fd, 0, SEEK_CUR), 7);
	EQ(pwritev(fd, w, 3, 100), 7);
	EQ(lseek(fd, 0, SEEK_CUR), 7);
	EQ(preadv2(fd, r, 2, -1, 0), 10); /* offset -1: the file's own */
	EQ(lseek(fd, 0, SEEK_CUR), 17);
	EQ(pwritev2(fd, w, 1, 0, RWF_APPEND), 4);
	struct stat st;
	EQ(fstat(fd, &st), 0);
	EQ(st.st_size, 111);
	ERR(preadv2(fd, r, 2, 0, 1 << 30), EOPNOTSUPP);
	ERR(readv(fd, r, -1), EINVAL);
	ERR(readv(fd, r, 1025), EINVAL);
	EQ(readv(fd, r, 0), 0);
	struct iovec bad[2] = { { a, 2 }, { b, (size_t)-1 } };
	ERR(readv(fd, bad, 2), EINVAL);
	ERR(preadv(fd, r, 2, -2), EINVAL);
	ERR(readv(fd, (void *)1, 2), EFAULT);
	/* A bad second buffer: what fits is read. */
	struct iovec half[2] = { { a, 2 }, { (void *)8, 2 } };
	EQ(preadv(fd, half, 2, 0), 2);
	say("vectored ok");
}
