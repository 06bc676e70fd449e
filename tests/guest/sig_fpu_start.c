// A handler starts with the floating-point unit as a program does: control words at their defaults, an empty
// x87 stack, exceptions masked; and what it leaves there is gone afterwards.
#include "t.h"
static volatile unsigned mxcsr, control, tag, hits;
static volatile double third;
static void look(int s)
{
	unsigned mx;
	unsigned short env[14];
	__asm__ volatile("stmxcsr %0\n fnstenv %1\n fldenv %1" : "=m"(mx), "=m"(env));
	mxcsr = mx;
	control = env[0];
	tag = env[4];
	hits++;
	volatile double zero = 0, one = 1;
	third = one / zero; /* Raises what the interrupted code has unmasked. */
	third = one / 3;
}
/* Signals us with these control words and `depth` values on the x87 stack; they are back afterwards. */
static void with(unsigned mx, unsigned short cw, int depth)
{
	unsigned mx2;
	unsigned short cw2, env[14];
	long pid = getpid(), tid = syscall(SYS_gettid);
	mxcsr = control = tag = 0;
	__asm__ volatile("fninit\n fldcw %[cw]\n test %[depth],%[depth]\n jz 1f\n fld1\n fld1\n fld1\n1:\n ldmxcsr %[mx]\n"
			 "mov %[nr],%%eax\n mov %[pid],%%rdi\n mov %[tid],%%rsi\n mov %[sig],%%edx\n syscall\n"
			 "stmxcsr %[mx2]\n fnstcw %[cw2]\n fnstenv %[env]\n fninit\n"
			 : [mx2] "=m"(mx2), [cw2] "=m"(cw2), [env] "=m"(env)
			 : [mx] "m"(mx), [cw] "m"(cw), [depth] "r"(depth), [nr] "i"(SYS_tgkill), [pid] "m"(pid), [tid] "m"(tid),
			   [sig] "i"(SIGUSR1)
			 : "rax", "rdi", "rsi", "rdx", "rcx", "r11", "memory");
	unsigned normal = 0x1f80;
	__asm__ volatile("ldmxcsr %0" ::"m"(normal));
	printf("mxcsr %x -> %x -> %x, control %x -> %x -> %x, tags %x -> %x\n", mx, mxcsr, mx2, cw, control, cw2, tag,
	       env[4]);
	CHECK(third > 0.333 && third < 0.334);
}
int main(void)
{
	struct sigaction sa = {.sa_handler = look};
	OK(sigaction(SIGUSR1, &sa, NULL));
	with(0x1f80, 0x37f, 0);
	with(0x1fa0, 0x37f, 0); /* a sticky flag */
	with(0x7f80, 0x37f, 0); /* rounds towards zero */
	with(0x1d80, 0x37f, 0); /* division by zero unmasked */
	with(0x1f80, 0x27f, 0); /* double precision */
	with(0x1f80, 0x37b, 0); /* division by zero unmasked */
	with(0x1f80, 0x37f, 1);
	with(0x7d80, 0x07b, 1);
	EQ(hits, 8);
	return 0;
}
