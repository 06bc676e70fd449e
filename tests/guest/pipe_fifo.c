// FIFOs: opening blocks for the peer, O_NONBLOCK errors, reopening after end of file.
#include "t.h"
int main(void)
{
	OK(mkfifo("f", 0600));
	ERR(mkfifo("f", 0600), EEXIST);
	ERR(open("f", O_WRONLY | O_NONBLOCK), ENXIO);
	int r = OK(open("f", O_RDONLY | O_NONBLOCK));
	char c;
	EQ(read(r, &c, 1), 0);
	int w = OK(open("f", O_WRONLY | O_NONBLOCK));
	ERR(read(r, &c, 1), EAGAIN);
	EQ(write(w, "z", 1), 1);
	EQ(read(r, &c, 1), 1);
	OK(close(w));
	EQ(read(r, &c, 1), 0);
	OK(close(r));
	pid_t k = OK(fork());
	if (!k) {
		int fd = OK(open("f", O_RDONLY));
		char b[10] = "";
		EQ(read(fd, b, 9), 5);
		puts(b);
		EQ(read(fd, b, 9), 0);
		_exit(0);
	}
	t_until_asleep(k);
	w = OK(open("f", O_WRONLY));
	EQ(write(w, "blick", 5), 5);
	OK(close(w));
	t_reap(k);
	int rw = OK(open("f", O_RDWR)); /* Linux: never blocks */
	EQ(write(rw, "q", 1), 1);
	EQ(read(rw, &c, 1), 1);
	struct stat st;
	OK(fstat(rw, &st));
	CHECK(S_ISFIFO(st.st_mode));
	ERR(lseek(rw, 0, SEEK_SET), ESPIPE);
	say("fifo ok");
}
