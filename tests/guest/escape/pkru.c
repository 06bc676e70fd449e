// expect: exit 0
// PKRU with everything denied: user accesses fault, and the kernel and the next process still work.
#include "../t.h"
#include <cpuid.h>
#include <setjmp.h>
static sigjmp_buf j;
static void on(int s) { siglongjmp(j, s); }
int main(void)
{
	unsigned a, b, c, d;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(c & 16)) /* OSPKE */
		return 0;
	/* Deny writes to key 0 for the length of one system call. */
	__asm__ volatile("xor %%ecx,%%ecx; xor %%edx,%%edx; mov $2,%%eax; wrpkru; mov %0,%%eax; syscall;"
			 "xor %%ecx,%%ecx; xor %%edx,%%edx; xor %%eax,%%eax; wrpkru" ::"i"(SYS_getppid) : "rax", "rcx", "rdx", "r11");
	/* Deny all of key 0: the next stack access faults and the handler cannot run: killed. */
	pid_t k = OK(fork());
	if (!k) {
		t_on(SIGSEGV, on, 0);
		if (!sigsetjmp(j, 1))
			__asm__ volatile("xor %%ecx,%%ecx; xor %%edx,%%edx; mov $3,%%eax; wrpkru; mov (%%rsp),%%rax" ::: "rax", "rcx", "rdx");
		_exit(0);
	}
	int st;
	EQ(waitpid(k, &st, 0), k);
	CHECK(getppid() >= 0);
	return 0;
}
