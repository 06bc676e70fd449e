// execve hands over argv, environment, an empty argv[0] and a sane auxiliary vector.
#include "t.h"
#include <sys/auxv.h>
extern char **environ;
int main(int argc, char **argv)
{
	if (argc == 1 && getenv("STAGE") == NULL) {
		char *av[] = { "name", "a b", "", "last", NULL }, *ev[] = { "STAGE=1", "X=", "weird", NULL };
		execve("/proc/self/exe", av, ev);
		return 9;
	}
	printf("argc %d:", argc);
	for (int i = 0; i < argc; i++)
		printf(" [%s]", argv[i]);
	puts("");
	for (char **e = environ; *e; e++)
		puts(*e);
	EQ(getauxval(AT_PAGESZ), 4096);
	EQ(getauxval(AT_UID), getuid());
	EQ(getauxval(AT_EGID), getegid());
	EQ(getauxval(AT_SECURE), 0);
	EQ(getauxval(AT_CLKTCK), 100);
	EQ(getauxval(AT_PHENT), 56);
	CHECK(getauxval(AT_PHNUM) > 1 && getauxval(AT_PHDR) && getauxval(AT_ENTRY));
	CHECK(getauxval(AT_RANDOM) && getauxval(AT_HWCAP));
	EQ(strcmp((char *)getauxval(AT_PLATFORM), "x86_64"), 0);
	EQ(strcmp((char *)getauxval(AT_EXECFN), "/proc/self/exe"), 0);
	CHECK(((unsigned long)__builtin_frame_address(0) & 15) == 0);
}
