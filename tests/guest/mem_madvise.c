// madvise: DONTNEED forgets, hints do no harm, holes give ENOMEM.
#include "t.h"
int main(void)
{
	char *m = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(m, 9, 8 * PAGE);
	EQ(madvise(m + PAGE, 2 * PAGE, MADV_DONTNEED), 0);
	for (int i = 0; i < 8; i++)
		printf("%d", m[i * PAGE + 7]);
	puts("");
	t_write("f", "file");
	int fd = OK(open("f", O_RDWR));
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	p[0] = 'X';
	EQ(madvise(p, PAGE, MADV_DONTNEED), 0);
	EQ(p[0], 'f'); /* the private copy is gone, the file is back */
	int hints[] = { MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTFORK, MADV_DOFORK };
	for (unsigned i = 0; i < sizeof hints / sizeof *hints; i++)
		EQ(madvise(m, PAGE, hints[i]), 0);
	EQ(madvise(m, PAGE, MADV_FREE), 0);
	m[0] = 3; /* a write after MADV_FREE stays */
	EQ(m[0], 3);
	ERR(madvise(m, PAGE, 12345), EINVAL);
	ERR(madvise(m + 1, PAGE, MADV_NORMAL), EINVAL);
	EQ(munmap(m + 4 * PAGE, PAGE), 0);
	ERR(madvise(m, 8 * PAGE, MADV_DONTNEED), ENOMEM);
	EQ(m[5 * PAGE], 0); /* what is mapped was treated all the same */
	/* MADV_DONTFORK areas are missing in the child. */
	char *d = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EQ(madvise(d, PAGE, MADV_DONTFORK), 0);
	IN_CHILD(ERR(open(d, O_RDONLY), EFAULT));
	char *w = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	w[0] = 1;
	EQ(madvise(w, PAGE, 18 /* MADV_WIPEONFORK */), 0);
	IN_CHILD(EQ(w[0], 0));
	EQ(w[0], 1);
	say("madvise ok");
}
