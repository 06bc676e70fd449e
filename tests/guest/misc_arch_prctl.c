// FS and GS bases: arch_prctl and the instructions agree and survive switches.
#include "t.h"
#include <asm/prctl.h>
#include <sys/auxv.h>
int main(void)
{
	unsigned long fs, gs, mem[4] = { 11, 22, 33, 44 }, v;
	OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
	__asm__("mov %%fs:0,%0" : "=r"(v));
	EQ(v, fs);
	OK(syscall(SYS_arch_prctl, ARCH_SET_GS, mem));
	__asm__ volatile("mov %%gs:8,%0" : "=r"(v));
	EQ(v, 22);
	OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
	CHECK(gs == (unsigned long)mem);
	ERR(syscall(SYS_arch_prctl, ARCH_SET_GS, 1UL << 63), EPERM);
	ERR(syscall(SYS_arch_prctl, 0x9999, 0), EINVAL);
	if (getauxval(AT_HWCAP2) & 2) { /* FSGSBASE */
		__asm__ volatile("wrgsbase %0" ::"r"(mem + 1));
		sched_yield();
		t_msleep(5);
		__asm__ volatile("mov %%gs:8,%0" : "=r"(v));
		EQ(v, 33);
		OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
		CHECK(gs == (unsigned long)(mem + 1));
		IN_CHILD(__asm__ volatile("rdgsbase %0" : "=r"(v)); EQ(v, (unsigned long)(mem + 1)));
	}
	say("bases ok");
}
