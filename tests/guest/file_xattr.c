// needs: root
// Extended attributes: set, get, list, remove, sizes and flags.
#include "t.h"
#include <sys/xattr.h>
int main(void)
{
	t_write("f", "");
	char b[64];
	EQ(setxattr("f", "trusted.a", "value", 5, 0), 0);
	EQ(getxattr("f", "trusted.a", b, sizeof b), 5);
	EQ(memcmp(b, "value", 5), 0);
	EQ(getxattr("f", "trusted.a", NULL, 0), 5);
	ERR(getxattr("f", "trusted.a", b, 2), ERANGE);
	ERR(getxattr("f", "trusted.none", b, 2), ENODATA);
	ERR(setxattr("f", "trusted.a", "v", 1, XATTR_CREATE), EEXIST);
	ERR(setxattr("f", "trusted.b", "v", 1, XATTR_REPLACE), ENODATA);
	EQ(setxattr("f", "trusted.a", "w", 1, XATTR_REPLACE), 0);
	ERR(setxattr("f", "trusted.a", "w", 1, 8), EINVAL);
	ERR(setxattr("f", "nonsense", "w", 1, 0), EOPNOTSUPP);
	EQ(listxattr("f", b, sizeof b), 10);
	EQ(strcmp(b, "trusted.a"), 0);
	EQ(setxattr("f", "trusted.empty", "", 0, 0), 0);
	EQ(getxattr("f", "trusted.empty", b, sizeof b), 0);
	EQ(removexattr("f", "trusted.a"), 0);
	ERR(removexattr("f", "trusted.a"), ENODATA);
	int fd = OK(open("f", O_RDONLY));
	EQ(fgetxattr(fd, "trusted.empty", b, 1), 0);
	OK(mkdir("d", 0700));
	EQ(setxattr("d", "trusted.x", "1", 1, 0), 0);
	say("xattr ok");
}
