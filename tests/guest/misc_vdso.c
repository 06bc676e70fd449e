// The vDSO is mapped, has its four functions, and their answers are right.
#include "t.h"
#include <elf.h>
#include <sys/auxv.h>
int main(void)
{
	char *base = (char *)getauxval(AT_SYSINFO_EHDR);
	CHECK(base && !memcmp(base, ELFMAG, 4));
	Elf64_Ehdr *e = (void *)base;
	Elf64_Phdr *p = (void *)(base + e->e_phoff);
	Elf64_Dyn *d = NULL;
	for (int i = 0; i < e->e_phnum; i++)
		if (p[i].p_type == PT_DYNAMIC)
			d = (void *)(base + p[i].p_offset);
	CHECK(d);
	char *str = NULL;
	Elf64_Sym *sym = NULL;
	uint32_t *hash = NULL, *gnu = NULL;
	for (; d->d_tag; d++) {
		if (d->d_tag == DT_STRTAB) str = base + d->d_un.d_ptr;
		if (d->d_tag == DT_SYMTAB) sym = (void *)(base + d->d_un.d_ptr);
		if (d->d_tag == DT_HASH) hash = (void *)(base + d->d_un.d_ptr);
		if (d->d_tag == DT_GNU_HASH) gnu = (void *)(base + d->d_un.d_ptr);
	}
	CHECK(str && sym && (hash || gnu));
	int n = hash ? hash[1] : 40, found = 0;
	int (*gettime)(clockid_t, struct timespec *) = NULL;
	for (int i = 1; i < n; i++) {
		const char *name = str + sym[i].st_name;
		static const char *want[] = { "__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_getcpu" };
		for (int k = 0; k < 4; k++)
			found += !strcmp(name, want[k]);
		if (!strcmp(name, want[0]))
			gettime = (void *)(base + sym[i].st_value);
		if (found == 4)
			break;
	}
	printf("%d functions\n", found);
	struct timespec a, b;
	EQ(gettime(CLOCK_MONOTONIC, &a), 0);
	OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &b));
	CHECK(b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) / 1e9 < 1);
	CHECK(gettime(12345, &a) == -EINVAL);
}
