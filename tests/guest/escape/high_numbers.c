// expect: exit 0
// Numbers with set high halves are cut to 32 bits or unknown, and never reach the host.
#include "../t.h"
int main(void)
{
	for (int bit = 9; bit < 64; bit++) {
		long r;
		__asm__ volatile("syscall" : "=a"(r) : "a"((1UL << bit) | 39), "D"(0), "S"(0), "d"(0) : "rcx", "r11", "memory");
		CHECK(r == -ENOSYS || (bit >= 32 && r == getpid()));
	}
	return 0;
}
