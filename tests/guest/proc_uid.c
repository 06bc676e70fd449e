// needs: root
// setuid, setreuid, setresuid and their group twins: who may become whom.
#include "t.h"
#include <grp.h>
#include <sys/fsuid.h>
static void show(const char *what)
{
	uid_t r, e, s;
	getresuid(&r, &e, &s);
	printf("%s: %u %u %u\n", what, r, e, s);
}
int main(void)
{
	IN_CHILD(OK(setuid(1000)); show("setuid by root"); ERR(setuid(0), EPERM); ERR(setresuid(0, -1, -1), EPERM));
	IN_CHILD(
		OK(seteuid(1000));
		show("seteuid");
		ERR(setuid(5), EPERM);
		ERR(setuid(1000), EPERM); /* neither the real nor the saved one */
		OK(setuid(0)); /* not root now: only the effective one moves */
		show("back"));
	IN_CHILD(OK(setreuid(1000, 2000)); show("setreuid"); OK(setreuid(2000, 1000)); show("swapped"); ERR(setreuid(0, 0), EPERM));
	IN_CHILD(OK(setresuid(1, 2, 3)); show("setresuid"); OK(setresuid(3, 1, 2)); show("turned"); ERR(setresuid(4, -1, -1), EPERM));
	IN_CHILD(
		OK(setresgid(10, 20, 30));
		gid_t r; gid_t e; gid_t s;
		getresgid(&r, &e, &s);
		printf("gids %u %u %u\n", r, e, s);
		gid_t g[3] = { 7, 8, 9 };
		OK(setgroups(3, g));
		gid_t got[10];
		EQ(getgroups(0, NULL), 3);
		ERR(getgroups(2, got), EINVAL);
		EQ(getgroups(10, got), 3);
		OK(setresuid(1000, 1000, 1000));
		ERR(setgroups(3, g), EPERM);
		ERR(setgid(77), EPERM);
		OK(setgid(30)));
	IN_CHILD(EQ(setfsuid(1000), 0); EQ(setfsuid(-1), 1000); ERR(open("f", O_CREAT | O_WRONLY, 0600), EACCES));
	ERR(setuid(-1), EINVAL);
}
