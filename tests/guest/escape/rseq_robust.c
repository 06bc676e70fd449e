// expect: exit 0
// rseq areas and robust lists that point to nowhere cost the process at most itself.
#include "../t.h"
int main(void)
{
	int st;
	static void *const bad[] = { (void *)8, (void *)0x7fffffffd000, (void *)0xffffffff81000000, (void *)0x10000 };
	for (int i = 0; i < 4; i++) {
		pid_t k = OK(fork());
		if (!k) {
			syscall(SYS_set_robust_list, bad[i], 24);
			syscall(SYS_set_tid_address, bad[i]);
			syscall(SYS_exit, 0);
		}
		EQ(waitpid(k, &st, 0), k);
		EQ(st, 0);
		k = OK(fork());
		if (!k) {
			/* A list that is a ring must not keep the kernel busy for ever. */
			static struct { void *next; long off; void *pending; } ring;
			ring.next = &ring.pending;
			ring.pending = &ring.pending;
			syscall(SYS_set_robust_list, &ring, 24);
			syscall(SYS_exit, 0);
		}
		EQ(waitpid(k, &st, 0), k);
		EQ(st, 0);
	}
	return 0;
}
