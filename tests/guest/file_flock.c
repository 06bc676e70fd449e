// flock: shared, exclusive, upgrade, inheritance and release by the last close.
#include "t.h"
#include <sys/file.h>
int main(void)
{
	int a = OK(open("f", O_CREAT | O_RDWR, 0600)), b = OK(open("f", O_RDWR));
	EQ(flock(a, LOCK_SH), 0);
	EQ(flock(b, LOCK_SH), 0);
	ERR(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	EQ(flock(b, LOCK_UN), 0);
	EQ(flock(a, LOCK_EX | LOCK_NB), 0);
	ERR(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	int d = OK(dup(a));
	EQ(flock(d, LOCK_EX | LOCK_NB), 0); /* the same open file */
	OK(close(a));
	ERR(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	IN_CHILD(EQ(flock(d, LOCK_UN), 0)); /* a child can release it */
	EQ(flock(b, LOCK_EX | LOCK_NB), 0);
	ERR(flock(b, 0), EINVAL);
	ERR(flock(99, LOCK_SH), EBADF);
	pid_t k = OK(fork());
	if (!k) {
		int c = OK(open("f", O_RDWR));
		EQ(flock(c, LOCK_EX), 0);
		say("child has it");
		_exit(0);
	}
	t_until_asleep(k);
	say("parent lets go");
	OK(flock(b, LOCK_UN));
	t_reap(k);
}
