// splice and tee between pipes and files.
#include "t.h"
int main(void)
{
	t_write("f", "0123456789");
	int fd = OK(open("f", O_RDWR)), a[2], b[2];
	OK(pipe(a));
	OK(pipe(b));
	loff_t off = 2;
	EQ(splice(fd, &off, a[1], NULL, 5, 0), 5);
	EQ(off, 7);
	EQ(tee(a[0], b[1], 100, 0), 5);
	char buf[20] = "";
	EQ(read(b[0], buf, 20), 5);
	puts(buf);
	EQ(splice(a[0], NULL, b[1], NULL, 3, 0), 3);
	off = 0;
	EQ(splice(b[0], NULL, fd, &off, 3, 0), 3);
	EQ(pread(fd, buf, 10, 0), 10);
	puts(buf);
	ERR(splice(fd, NULL, fd, NULL, 1, 0), EINVAL);
	ERR(splice(a[0], NULL, b[1], NULL, 1, 0x100), EINVAL);
	ERR(splice(a[0], &off, b[1], NULL, 1, 0), ESPIPE);
	EQ(splice(a[0], NULL, b[1], NULL, 100, SPLICE_F_NONBLOCK), 2);
	ERR(splice(a[0], NULL, b[1], NULL, 100, SPLICE_F_NONBLOCK), EAGAIN);
	struct iovec v = { "vm", 2 };
	EQ(vmsplice(a[1], &v, 1, 0), 2);
	EQ(read(a[0], buf, 20), 2);
	say("splice ok");
}
