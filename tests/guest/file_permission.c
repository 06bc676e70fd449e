// needs: root
// Permission checks by owner, group and others after giving up root.
#include "t.h"
#include <grp.h>
int main(void)
{
	OK(mkdir("noexec", 0644));
	OK(mkdir("noread", 0711));
	OK(mkdir("nowrite", 0755));
	t_write("noread/f", "x");
	t_write("nowrite/f", "x");
	t_write("owner", "x");
	t_write("group", "x");
	t_write("other", "x");
	OK(chown("owner", 1000, 2000));
	OK(chmod("owner", 0077)); /* the owner's own class decides, even if others may more */
	OK(chown("group", 0, 3000));
	OK(chmod("group", 0604));
	OK(chmod("other", 0606));
	OK(chmod(".", 0755));
	/* root may anything but run a file without any x bit */
	EQ(access("owner", R_OK | W_OK), 0);
	ERR(access("other", X_OK), EACCES);
	gid_t groups[] = { 3000 };
	IN_CHILD({
		OK(setgroups(1, groups));
		OK(setresgid(1000, 1000, 1000));
		OK(setresuid(1000, 1000, 1000));
		ERR(open("owner", O_RDONLY), EACCES);
		ERR(open("group", O_RDONLY), EACCES);
		OK(open("other", O_RDWR));
		struct stat st;
		ERR(stat("noexec/x", &st), EACCES);
		EQ(stat("noexec", &st), 0);
		OK(open("noexec", O_RDONLY | O_DIRECTORY));
		ERR(open("noread", O_RDONLY | O_DIRECTORY), EACCES);
		OK(open("noread/f", O_RDONLY));
		ERR(open("nowrite/new", O_CREAT | O_WRONLY, 0600), EACCES);
		ERR(unlink("nowrite/f"), EACCES);
		ERR(mkdir("nowrite/d", 0700), EACCES);
		ERR(rename("nowrite/f", "nowrite/g"), EACCES);
		ERR(truncate("nowrite/f", 0), EACCES);
		ERR(chdir("noexec"), EACCES);
		ERR(link("owner", "nowrite/h"), EACCES);
		ERR(mknod("nowrite/dev", S_IFCHR | 0600, 0x103), EACCES);
	});
	say("permission ok");
}
