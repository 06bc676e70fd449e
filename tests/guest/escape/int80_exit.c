// expect: exit 0
// int $0x80 with exit's 32-bit number must not end the stub behind the kernel's back.
#include "../t.h"
static void on(int s) { _exit(s == SIGSYS ? 0 : 2); }
int main(void)
{
	t_on(SIGSYS, on, 0);
	__asm__ volatile("int $0x80" ::"a"(1), "b"(77) : "memory");
	__asm__ volatile("int $0x80" ::"a"(252), "b"(77) : "memory");
	return 0;
}
