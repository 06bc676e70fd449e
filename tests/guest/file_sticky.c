// needs: root
// In a sticky directory only the owner of a file may remove it.
#include "t.h"
int main(void)
{
	OK(mkdir("s", 0777));
	OK(chmod("s", 01777));
	OK(mkdir("p", 0777));
	OK(chmod("p", 0777));
	t_write("s/root", "");
	t_write("p/root", "");
	OK(chmod(".", 0755));
	IN_CHILD({
		OK(setresgid(1000, 1000, 1000));
		OK(setresuid(1000, 1000, 1000));
		t_write("s/mine", "");
		ERR(unlink("s/root"), EPERM);
		ERR(rename("s/root", "s/x"), EPERM);
		ERR(rename("s/mine", "s/root"), EPERM);
		OK(unlink("s/mine"));
		OK(unlink("p/root"));
	});
	say("sticky ok");
}
