// getrandom: sizes, flags, errors, and that it is not constant.
#include "t.h"
#include <sys/random.h>
int main(void)
{
	unsigned char a[300], b[300], z[300] = { 0 };
	EQ(getrandom(a, 300, 0), 300);
	EQ(getrandom(b, 300, GRND_NONBLOCK), 300);
	CHECK(memcmp(a, b, 300) && memcmp(a, z, 300));
	EQ(getrandom(a, 16, GRND_RANDOM), 16);
	EQ(getrandom(a, 0, 0), 0);
	EQ(getrandom(a, 16, 4 /* GRND_INSECURE */), 16);
	ERR(getrandom(a, 16, 0x80), EINVAL);
	ERR(getrandom(a, 16, GRND_RANDOM | 4), EINVAL);
	ERR(syscall(SYS_getrandom, (void *)1, 16, 0), EFAULT);
	int hist[256] = { 0 };
	static unsigned char big[65536];
	EQ(getrandom(big, sizeof big, 0), sizeof big);
	for (size_t i = 0; i < sizeof big; i++)
		hist[big[i]]++;
	for (int i = 0; i < 256; i++)
		CHECK(hist[i] > 100 && hist[i] < 500);
	say("random ok");
}
