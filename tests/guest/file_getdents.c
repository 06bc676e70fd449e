// getdents64: every entry once, seeks to told positions, deleting while reading.
#include "t.h"
#include <dirent.h>
struct d64 { uint64_t ino; int64_t off; unsigned short len; unsigned char type; char name[]; };
static int names(int fd, char seen[300], int *dots)
{
	char buf[1024];
	int n = 0;
	long r;
	*dots = 0;
	while ((r = OK(syscall(SYS_getdents64, fd, buf, sizeof buf))) > 0)
		for (long o = 0; o < r;) {
			struct d64 *d = (void *)(buf + o);
			if (d->name[0] == '.')
				++*dots;
			else {
				EQ(d->type, DT_REG);
				seen[atoi(d->name + 1)]++;
				n++;
			}
			CHECK(d->len % 8 == 0);
			o += d->len;
		}
	return n;
}
int main(void)
{
	char name[16], seen[300] = { 0 };
	int dots;
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof name, "f%d", i);
		t_write(name, "");
	}
	int fd = OK(open(".", O_RDONLY | O_DIRECTORY));
	EQ(names(fd, seen, &dots), 300);
	EQ(dots, 2);
	for (int i = 0; i < 300; i++)
		EQ(seen[i], 1);
	/* From the start again. */
	OK(lseek(fd, 0, SEEK_SET));
	memset(seen, 0, sizeof seen);
	EQ(names(fd, seen, &dots), 300);
	char tiny[8];
	OK(lseek(fd, 0, SEEK_SET));
	ERR(syscall(SYS_getdents64, fd, tiny, sizeof tiny), EINVAL);
	int f = OK(open("f0", O_RDONLY));
	ERR(syscall(SYS_getdents64, f, name, sizeof name), ENOTDIR);
	/* telldir and seekdir come back to the same entry. */
	DIR *d = opendir(".");
	for (int i = 0; i < 100; i++)
		CHECK(readdir(d));
	long at = telldir(d);
	char want[300];
	strcpy(want, readdir(d)->d_name);
	for (int i = 0; i < 50; i++)
		CHECK(readdir(d));
	seekdir(d, at);
	EQ(strcmp(readdir(d)->d_name, want), 0);
	/* rm -r: entries are deleted while the directory is read; none may be missed. */
	rewinddir(d);
	struct dirent *e;
	int gone = 0;
	while ((e = readdir(d)))
		if (e->d_name[0] == 'f') {
			OK(unlink(e->d_name));
			gone++;
		}
	EQ(gone, 300);
	printf("%d entries\n", gone);
}
