// expect: exit 0
// A far jump into 32-bit code and an int $0x80 there: ENOSYS or a signal, then still alive.
#include "../t.h"
#include <setjmp.h>
static sigjmp_buf j;
static void on(int s) { siglongjmp(j, s); }
int main(void)
{
	int sigs[] = { SIGILL, SIGSEGV, SIGSYS, SIGBUS, SIGTRAP };
	for (int i = 0; i < 5; i++)
		t_on(sigs[i], on, SA_ONSTACK);
	stack_t ss = { .ss_sp = malloc(65536), .ss_size = 65536 };
	OK(sigaltstack(&ss, NULL));
	/* mov eax,20; int 0x80; far return to 64-bit code by retf with what is on the stack */
	unsigned char *c = mmap((void *)0x10000000, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_32BIT, -1, 0);
	CHECK(c != MAP_FAILED);
	static const unsigned char code[] = { 0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xcb };
	static const unsigned char code2[] = { 0xb8, 20, 0, 0, 0, 0x0f, 0x34, 0xcb };
	static const unsigned char code3[] = { 0xb8, 20, 0, 0, 0, 0x0f, 0x05, 0xcb };
	const unsigned char *all[] = { code, code2, code3 };
	for (int i = 0; i < 3; i++) {
		memcpy(c, all[i], 8);
		if (!sigsetjmp(j, 1)) {
			unsigned int eax = 0;
			/* A 32-bit stack holds the way back: offset and selector of 64-bit code. */
			unsigned *st = (unsigned *)(c + PAGE + 2048);
			__asm__ volatile("mov %%rsp,%%r12\n lea 1f(%%rip),%%rax\n mov %%eax,(%[st])\n movl $0x33,4(%[st])\n"
					 "mov %[st],%%rsp\n"
					 "sub $16,%%rsp\n movl %k[c],(%%rsp)\n movl $0x23,4(%%rsp)\n"
					 "mov %%rsp,%%rcx\n add $16,%%rsp\n ljmp *(%%rcx)\n"
					 "1: mov %%r12,%%rsp\n mov %%eax,%[eax]\n"
					 : [eax] "=m"(eax) : [st] "r"(st), [c] "r"((long)c) : "rax", "rcx", "rdx", "r12", "r13", "memory");
		}
	}
	CHECK(getppid() >= 0);
	return 0;
}
