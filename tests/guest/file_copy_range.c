// copy_file_range and sendfile move bytes and offsets as documented.
#include "t.h"
#include <sys/sendfile.h>
int main(void)
{
	t_write("a", "0123456789");
	int a = OK(open("a", O_RDWR)), b = OK(open("b", O_CREAT | O_RDWR, 0600));
	loff_t in = 2, out = 5;
	EQ(copy_file_range(a, &in, b, &out, 4, 0), 4);
	EQ(in, 6);
	EQ(out, 9);
	EQ(lseek(a, 0, SEEK_CUR), 0);
	EQ(copy_file_range(a, NULL, b, NULL, 100, 0), 10);
	EQ(copy_file_range(a, NULL, b, NULL, 100, 0), 0);
	ERR(copy_file_range(a, NULL, b, NULL, 1, 1), EINVAL);
	in = 0;
	out = 1;
	ERR(copy_file_range(a, &in, a, &out, 5, 0), EINVAL); /* overlap in one file */
	ERR(copy_file_range(a, NULL, OK(open("b", O_RDONLY)), NULL, 1, 0), EBADF);
	ERR(copy_file_range(OK(open(".", O_RDONLY)), NULL, b, NULL, 1, 0), EISDIR);
	char buf[32] = "";
	EQ(pread(b, buf, 32, 0), 10);
	puts(buf);
	off_t off = 3;
	int p[2];
	OK(pipe(p));
	EQ(sendfile(p[1], a, &off, 4), 4);
	EQ(off, 7);
	EQ(read(p[0], buf, 32), 4);
	buf[4] = 0;
	puts(buf);
	OK(lseek(a, 0, SEEK_SET));
	EQ(sendfile(b, a, NULL, 3), 3);
	EQ(lseek(a, 0, SEEK_CUR), 3);
	ERR(sendfile(b, p[0], NULL, 3), EINVAL);
	EQ(sendfile(p[1], a, NULL, 0), 0);
	say("copy ok");
}
