// expect: exit 0
// seconds: 60
// Events that never happened, at every address: the kernel takes them for what they are, the guest's own business.
#include "shm.h"
static void on(int s) { _exit(0); }
static void body(int i)
{
	static const unsigned long where[] = { 0, 1, 0x400000, 0x7ffffffff000, 0x800000000000, 0xffff800000000000, -1UL, TEXT, K(0), S(1) };
	static const unsigned kinds[] = { SIGSEGV, SIGBUS, SIGSYS, SIGILL, SIGTRAP, SIGFPE, SIGUSR1, SIGKILL, 0, 64, 0x100, 0x200, 0x400, 0x40b };
	unsigned kind = kinds[i % 14];
	int code = (i / 14) % 4;
	unsigned long a = where[(i / 7) % 10], s = S(1), c = s + 0x4000;
	t_on(SIGSEGV, on, 0);
	memset((void *)(s + 0x2000), i, 0x6000);
	W64(c + 184) = 0x33;
	W64(c + 192) = i % 32;
	W64(c + 224) = s + 0x5000 + (i % 3 ? 0 : i * 8);
	W64(c + 40 + 120) = a;
	W64(c + 40 + 128) = i & 1 ? a : 0x400000;
	W64(c + 40 + 104) = i % 450;
	W64(c + 304 + 8) = code;
	W64(c + 304 + 16) = a;
	W64(c + 304 + 24) = i & 2 ? 0xc000003e00000000UL : 0x4000000300000000UL;
	W64(s + 16) = i % 5 ? c : a;
	W32(s + 8) = kind;
	W32(s) = W32(K(1)) + 1;
	for (;;)
		;
}
int main(void)
{
	for (int i = 0; i < 560; i++) {
		pid_t k = OK(fork());
		if (!k) {
			OK(setsid());
			ualarm(50000, 0);
			/* What a forged call may do, it may do to itself. */
			if (getuid() == 0)
				OK(setuid(65534));
			body(i);
		}
		int st;
		EQ(waitpid(k, &st, __WALL), k);
		kill(-k, SIGKILL);
	}
	IN_CHILD(t_msleep(1));
	return 0;
}
