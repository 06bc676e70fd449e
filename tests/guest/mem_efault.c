// Bad pointers give EFAULT, late: only when they are really needed.
#include "t.h"
#include <sys/utsname.h>
int main(void)
{
	char *m = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EQ(munmap(m + PAGE, PAGE), 0);
	char *edge = m + PAGE - 4;
	int fd = OK(open("f", O_CREAT | O_RDWR, 0600));
	EQ(write(fd, "0123456789", 10), 10);
	EQ(pread(fd, (void *)1, 0, 0), 0);
	EQ(pread(fd, (void *)1, 10, 10), 0); /* at the end nothing is written */
	ERR(pread(fd, (void *)1, 10, 0), EFAULT);
	EQ(pread(fd, edge, 10, 0), 4); /* what fits before the hole */
	EQ(memcmp(edge, "0123", 4), 0);
	ERR(write(fd, (void *)1, 1), EFAULT);
	EQ(pwrite(fd, edge, 10, 0), 4);
	ERR(open((void *)1, O_RDONLY), EFAULT);
	memset(edge, 'a', 4);
	ERR(open(edge, O_RDONLY), EFAULT); /* no end of the string before the hole */
	strcpy(edge, "f");
	OK(open(edge, O_RDONLY));
	ERR(uname((void *)1), EFAULT);
	ERR(uname((void *)0xffffffff81000000UL), EFAULT);
	ERR(pread(fd, (void *)0xffffffff81000000UL, 4, 0), EFAULT);
	ERR(pread(fd, (void *)(1UL << 63), 4, 0), EFAULT);
	ERR(nanosleep((void *)1, NULL), EFAULT);
	ERR(syscall(SYS_rt_sigaction, SIGUSR1, (void *)1, NULL, 8), EFAULT);
	ERR(waitpid(-1, (void *)1, WNOHANG), ECHILD);
	EQ(mprotect(m, PAGE, PROT_READ), 0);
	ERR(pread(fd, m, 4, 0), EFAULT); /* read-only to us is read-only to the kernel */
	ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, m, 8), EFAULT);
	say("EFAULT ok");
}
