// needs: root
// The set-user-ID bit: effective and saved ids change, AT_SECURE is set, no_new_privs stops it.
#include "t.h"
#include <sys/auxv.h>
#include <sys/prctl.h>
int main(int argc, char **argv)
{
	if (argc > 1) {
		uid_t r, e, s;
		gid_t gr, ge, gs;
		getresuid(&r, &e, &s);
		getresgid(&gr, &ge, &gs);
		printf("%s: uid %u %u %u gid %u %u %u secure %lu dumpable %d\n", argv[1], r, e, s, gr, ge, gs,
		       getauxval(AT_SECURE), prctl(PR_GET_DUMPABLE) == 1);
		return 0;
	}
	int in = OK(open("/proc/self/exe", O_RDONLY)), out = OK(open("copy", O_CREAT | O_RDWR, 0755));
	char buf[65536];
	ssize_t n;
	while ((n = read(in, buf, sizeof buf)) > 0)
		EQ(write(out, buf, n), n);
	OK(close(out));
	OK(chmod(".", 0755));
	OK(chown("copy", 2000, 3000));
	OK(chmod("copy", 06755));
	char *a1[] = { "x", "setuid", NULL }, *a2[] = { "x", "nnp", NULL }, *a3[] = { "x", "no group x", NULL };
	IN_CHILD(OK(setresgid(1000, 1000, 1000)); OK(setresuid(1000, 1000, 1000)); execv("./copy", a1); _exit(9));
	IN_CHILD(OK(setresgid(1000, 1000, 1000)); OK(setresuid(1000, 1000, 1000));
		OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); execv("./copy", a2); _exit(9));
	OK(chmod("copy", 06745)); /* setgid without group x marks mandatory locking, once */
	IN_CHILD(OK(setresgid(1000, 1000, 1000)); OK(setresuid(1000, 1000, 1000)); execv("./copy", a3); _exit(9));
}
