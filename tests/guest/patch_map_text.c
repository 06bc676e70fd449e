// A library comes and goes many times, as dlopen and dlclose do it: its calls work, and nothing piles up.
#include "t.h"
#include <elf.h>
#include <sys/auxv.h>
__asm__(".text\n.globl site\n.type site,@function\nsite: mov $39,%eax\n syscall\n ret\n .size site,.-site\n");
long site(void);
static long lines(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	CHECK(f != NULL);
	long n = 0;
	for (int c; (c = getc(f)) != EOF;)
		n += c == '\n';
	fclose(f);
	return n;
}
static const Elf64_Phdr *text;
static unsigned long low, high;
static char *load(int fd)
{
	char *at = OK(mmap(NULL, high - low, PROT_READ, MAP_PRIVATE, fd, 0));
	unsigned long start = text->p_vaddr & ~(PAGE - 1);
	unsigned long len = text->p_vaddr + text->p_filesz - start;
	char *want = at + (start - low);
	CHECK(mmap(want, len, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, text->p_offset & ~(PAGE - 1)) == want);
	return at;
}
int main(void)
{
	const Elf64_Phdr *h = (void *)getauxval(AT_PHDR);
	low = -1UL;
	for (unsigned i = 0; i < getauxval(AT_PHNUM); i++) {
		if (h[i].p_type != PT_LOAD)
			continue;
		unsigned long end = (h[i].p_vaddr + h[i].p_memsz + PAGE - 1) & ~(PAGE - 1);
		if (h[i].p_vaddr < low)
			low = h[i].p_vaddr & ~(PAGE - 1);
		if (end > high)
			high = end;
		if (h[i].p_flags & PF_X)
			text = &h[i];
	}
	int fd = OK(open("/proc/self/exe", O_RDONLY));
	long before = 0;
	for (int i = 0; i < 500; i++) {
		char *at = load(fd);
		long (*copy)(void) = (void *)(at + ((unsigned long)site - low));
		EQ(copy(), getpid());
		if (i % 50 == 0) {
			char *second = load(fd);
			long (*other)(void) = (void *)(second + ((unsigned long)site - low));
			EQ(other(), getpid());
			IN_CHILD(EQ(copy(), getpid()); EQ(other(), getpid()); OK(munmap(at, high - low)); EQ(other(), getpid()));
			OK(munmap(second, high - low));
			EQ(copy(), getpid());
		}
		OK(munmap(at, high - low));
		if (i == 0)
			before = lines();
	}
	/* Our own text may have got its trampolines meanwhile. */
	CHECK(lines() <= before + 1);
	/* Rewritten in place: the next one executes the new contents. */
	int w = OK(open("lib", O_RDWR | O_CREAT | O_TRUNC, 0755));
	struct stat st;
	OK(fstat(fd, &st));
	char *whole = OK(mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0));
	EQ(write(w, whole, st.st_size), st.st_size);
	long off = text->p_offset + ((unsigned long)site - text->p_vaddr) + 1;
	for (int i = 0; i < 20; i++) {
		unsigned char nr = i % 2 ? SYS_getppid : SYS_getpid;
		char *at = load(w);
		long (*copy)(void) = (void *)(at + ((unsigned long)site - low));
		copy();
		EQ(pwrite(w, &nr, 1, off), 1);
		EQ(copy(), i % 2 ? getppid() : getpid());
		OK(munmap(at, high - low));
		at = load(w);
		copy = (void *)(at + ((unsigned long)site - low));
		EQ(copy(), i % 2 ? getppid() : getpid());
		OK(munmap(at, high - low));
	}
	say("libraries come and go");
}
