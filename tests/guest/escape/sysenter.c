// expect: signal ILL SEGV SYS
// sysenter from 64-bit code kills.
#include "../t.h"
int main(void)
{
	__asm__ volatile("mov %%rsp,%%rbp; sysenter" ::"a"(20) : "memory");
	say("came back");
}
