// expect: exit 0
// System call numbers with the x32 bit are unknown numbers.
#include "../t.h"
int main(void)
{
	static const int nr[] = { 39, 0, 1, 2, 9, 12, 57, 59, 60, 231, 512, 520, 547 };
	for (unsigned i = 0; i < sizeof nr / sizeof *nr; i++) {
		long r;
		__asm__ volatile("syscall" : "=a"(r) : "a"(0x40000000L + nr[i]), "D"(0), "S"(0), "d"(0) : "rcx", "r11", "memory");
		EQ(r, -ENOSYS);
	}
	return 0;
}
