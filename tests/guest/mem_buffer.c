// A buffer that is mapped for each use and unmapped behind it: zero each time, gone in between, nobody else's.
#include "t.h"
#include <setjmp.h>
#include <ucontext.h>
static sigjmp_buf j;
static int code;
static unsigned long err;
static void on(int s, siginfo_t *i, void *u)
{
	code = i->si_code;
	err = ((ucontext_t *)u)->uc_mcontext.gregs[REG_ERR];
	siglongjmp(j, 1);
}

/* Maps `n` pages, which are zero, fills them, and unmaps them, after which they are not there. */
static void use(unsigned n, unsigned char fill)
{
	unsigned char *m = OK(mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	for (unsigned i = 0; i < n * PAGE; i += 64)
		CHECK(m[i] == 0);
	memset(m, fill, n * PAGE);
	OK(munmap(m, n * PAGE));
	for (int write = 0; write < 2; write++) {
		code = 0;
		if (!sigsetjmp(j, 1)) {
			if (write)
				*(volatile char *)(m + (n - 1) * PAGE) = 1;
			else
				*(volatile char *)m;
			CHECK(!"reached");
		}
		EQ(code, SEGV_MAPERR);
		EQ(err & 1, 0);
	}
	char vec;
	ERR(mincore(m, PAGE, (void *)&vec), ENOMEM);
	ERR(mprotect(m, n * PAGE, PROT_READ), ENOMEM);
	ERR(write(-1, m, 1), EBADF);
	int p[2];
	OK(pipe(p));
	ERR(write(p[1], m, 1), EFAULT);
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	t_on_info(SIGSEGV, on, 0);
	static const unsigned sizes[] = { 1, 3, 16, 17, 40, 64, 65 };
	for (unsigned s = 0; s < sizeof sizes / sizeof *sizes; s++)
		for (int i = 0; i < 6; i++)
			use(sizes[s], i + 1);
	say("sizes");

	/* Several processes do it in turns, each with what it forked from. */
	for (int c = 0; c < 4; c++) {
		pid_t pid = OK(fork());
		if (pid == 0) {
			for (int i = 0; i < 200; i++)
				use(1 + c * 5 % 16, 0x80 + c);
			_exit(0);
		}
	}
	for (int i = 0; i < 200; i++)
		use(8, 0x40);
	for (int c = 0; c < 4; c++) {
		int st;
		OK(wait(&st));
		EQ(st, 0);
	}
	say("processes");

	/* The place is taken by something else meanwhile: a file, a larger mapping, fewer rights. */
	int f = OK(memfd_create("f", 0));
	OK(ftruncate(f, 4 * PAGE));
	EQ(pwrite(f, "file", 4, 0), 4);
	for (int i = 0; i < 6; i++) {
		char *m = OK(mmap((void *)0x100000000000, 4 * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		memset(m, 1, 4 * PAGE);
		OK(munmap(m, 4 * PAGE));
		char *o;
		switch (i % 3) {
		case 0:
			o = OK(mmap(m, 4 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, f, 0));
			EQ(memcmp(o, "file", 5), 0);
			break;
		case 1:
			o = OK(mmap(m - PAGE, 6 * PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
			for (int k = 0; k < 6; k++) {
				CHECK(o[k * PAGE] == 0);
				o[k * PAGE] = 3;
			}
			OK(munmap(o, PAGE));
			OK(munmap(o + 5 * PAGE, PAGE));
			break;
		case 2:
			o = OK(mmap(m, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
			CHECK(o[PAGE] == 0);
			code = 0;
			if (!sigsetjmp(j, 1))
				*(volatile char *)o = 1;
			EQ(code, SEGV_ACCERR);
			break;
		}
		OK(munmap(m, 4 * PAGE));
	}
	say("others");
}
