// expect: exit 0
// seconds: 60
// A thread writes all over the pages that it shares with the kernel while its siblings make calls, fault and fork.
#include "shm.h"
static void *calls(void *arg)
{
	for (unsigned long i = 0;; i++) {
		syscall(SYS_getppid);
		char *m = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (m != MAP_FAILED) {
			m[PAGE] = i;
			munmap(m, 4 * PAGE);
		}
		if (i % 64 == 0) {
			pid_t k = fork();
			if (!k)
				_exit(0);
			if (k > 0)
				waitpid(k, NULL, 0);
		}
	}
}
/* Reports a kick of its own making for every thread: one of them is this one, which runs on all the same. */
static void run_away(void)
{
	for (int n = 1; n < 6; n++) {
		W64(S(n) + 0x4000 + 224) = S(n) + 0x5000;
		W64(S(n) + 16) = S(n) + 0x4000;
		W32(S(n) + 8) = SIGUSR1;
		W32(S(n)) = W32(K(n)) + 1;
	}
}
static void body(int how)
{
	pthread_t t;
	for (int i = 0; i < 2; i++)
		pthread_create(&t, NULL, calls, NULL);
	for (;;) {
		if (how & 1)
			run_away();
		for (int i = 0; i < 20000; i++) {
			unsigned long r = rnd(), at = S(r % 6) + (r >> 8) % ((how & 2) ? 64 : 0x8000) / 8 * 8;
			W64(at) = (how & 4) ? r : r % 0x500;
		}
	}
}
int main(void)
{
	for (int how = 0; how < 8; how++)
		hostile(body, how, 2);
	return 0;
}
