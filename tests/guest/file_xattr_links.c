// needs: root
// Extended attributes by descriptor and without following links.
#include "t.h"
#include <sys/xattr.h>
int main(void)
{
	t_write("f", "");
	OK(symlink("f", "l"));
	char b[64];
	OK(lsetxattr("l", "trusted.link", "L", 1, 0));
	OK(setxattr("l", "trusted.file", "F", 1, 0));
	ERR(getxattr("f", "trusted.link", b, sizeof b), ENODATA);
	EQ(lgetxattr("l", "trusted.link", b, sizeof b), 1);
	EQ(b[0], 'L');
	ERR(lgetxattr("l", "trusted.file", b, sizeof b), ENODATA);
	EQ(llistxattr("l", b, sizeof b), sizeof "trusted.link");
	EQ(listxattr("l", b, sizeof b), sizeof "trusted.file");
	ERR(lsetxattr("l", "user.no", "x", 1, 0), EPERM); // user attributes are for files and directories
	OK(lremovexattr("l", "trusted.link"));
	ERR(lremovexattr("l", "trusted.link"), ENODATA);
	int fd = OK(open("f", O_RDONLY));
	OK(fsetxattr(fd, "trusted.fd", "12345", 5, XATTR_CREATE));
	ERR(fsetxattr(fd, "trusted.fd", "1", 1, XATTR_CREATE), EEXIST);
	EQ(fgetxattr(fd, "trusted.fd", b, sizeof b), 5);
	EQ(flistxattr(fd, NULL, 0), sizeof "trusted.file" + sizeof "trusted.fd");
	ERR(flistxattr(fd, b, 3), ERANGE);
	OK(fremovexattr(fd, "trusted.fd"));
	ERR(fremovexattr(99, "trusted.fd"), EBADF);
	int path = OK(open("f", O_PATH));
	ERR(fgetxattr(path, "trusted.file", b, sizeof b), EBADF);
	say("xattr links ok");
}
