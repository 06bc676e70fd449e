// FP and vector state survives handlers and context switches: x87, xmm, ymm, zmm, mxcsr.
#include "t.h"
#include <immintrin.h>
static volatile int hits;
__attribute__((target("sse2"))) static void clobber(int s)
{
	/* Spoil every register a handler can reach. */
	__asm__ volatile("fninit\n fldpi\n fldpi\n pcmpeqd %%xmm0,%%xmm0\n movdqa %%xmm0,%%xmm1\n movdqa %%xmm0,%%xmm7\n"
			 "movdqa %%xmm0,%%xmm15\n" ::: "xmm0", "xmm1", "xmm7", "xmm15");
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vzeroall" ::: "memory");
	unsigned m = 0x1f80 | 0x6000;
	__asm__ volatile("ldmxcsr %0" ::"m"(m));
	hits++;
}
static void raise_raw(void)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(SYS_tgkill), "D"(getpid()), "S"(syscall(SYS_gettid)), "d"(SIGUSR1) : "rcx", "r11", "memory");
}
static void sse(void)
{
	unsigned char in[16], out[16], out15[16];
	for (int i = 0; i < 16; i++)
		in[i] = i * 17 + 3;
	unsigned mx = 0x1fa0, mx2 = 0;
	long pid = getpid(), tid = syscall(SYS_gettid);
	double x87 = 0;
	__asm__ volatile("ldmxcsr %[mx]\n movdqu %[in],%%xmm6\n movdqu %[in],%%xmm15\n fninit\n fldl2e\n"
			 "mov %[nr],%%eax\n mov %[pid],%%rdi\n mov %[tid],%%rsi\n mov %[sig],%%edx\n syscall\n"
			 "movdqu %%xmm6,%[o]\n movdqu %%xmm15,%[o15]\n fstpl %[x]\n stmxcsr %[mx2]\n"
			 : [o] "=m"(out), [o15] "=m"(out15), [x] "=m"(x87), [mx2] "=m"(mx2)
			 : [mx] "m"(mx), [in] "m"(in), [nr] "i"(SYS_tgkill), [pid] "m"(pid), [tid] "m"(tid), [sig] "i"(SIGUSR1)
			 : "rax", "rdi", "rsi", "rdx", "rcx", "r11", "xmm6", "xmm15", "memory");
	EQ(memcmp(in, out, 16), 0);
	EQ(memcmp(in, out15, 16), 0);
	EQ(mx2, mx);
	CHECK(x87 > 1.442 && x87 < 1.443);
}
__attribute__((target("avx"))) static void avx(void)
{
	unsigned char in[32], out[32];
	for (int i = 0; i < 32; i++)
		in[i] = i * 7 + 1;
	long pid = getpid(), tid = syscall(SYS_gettid);
	__asm__ volatile("vmovdqu %[in],%%ymm5\n mov %[nr],%%eax\n mov %[pid],%%rdi\n mov %[tid],%%rsi\n mov %[sig],%%edx\n syscall\n"
			 "vmovdqu %%ymm5,%[o]\n vzeroupper\n"
			 : [o] "=m"(out)
			 : [in] "m"(in), [nr] "i"(SYS_tgkill), [pid] "m"(pid), [tid] "m"(tid), [sig] "i"(SIGUSR1)
			 : "rax", "rdi", "rsi", "rdx", "rcx", "r11", "xmm5", "memory");
	EQ(memcmp(in, out, 32), 0);
}
__attribute__((target("avx512f"))) static void avx512(void)
{
	unsigned char in[64], out[64];
	for (int i = 0; i < 64; i++)
		in[i] = i * 5 + 9;
	long pid = getpid(), tid = syscall(SYS_gettid);
	__asm__ volatile("vmovdqu64 %[in],%%zmm21\n mov %[nr],%%eax\n mov %[pid],%%rdi\n mov %[tid],%%rsi\n mov %[sig],%%edx\n syscall\n"
			 "vmovdqu64 %%zmm21,%[o]\n vzeroupper\n"
			 : [o] "=m"(out)
			 : [in] "m"(in), [nr] "i"(SYS_tgkill), [pid] "m"(pid), [tid] "m"(tid), [sig] "i"(SIGUSR1)
			 : "rax", "rdi", "rsi", "rdx", "rcx", "r11", "memory");
	EQ(memcmp(in, out, 64), 0);
}
int main(void)
{
	t_on(SIGUSR1, clobber, 0);
	int rounds = 0;
	for (int i = 0; i < 50; i++) {
		sse();
		rounds++;
		if (__builtin_cpu_supports("avx"))
			avx();
		if (__builtin_cpu_supports("avx512f"))
			avx512();
	}
	raise_raw();
	CHECK(hits > rounds);
	printf("%d rounds\n", rounds);
	/* Several processes that each count in registers while the clock switches between them. */
	for (int k = 0; k < 4; k++)
		if (OK(fork()) == 0) {
			double want = 0, x = 0;
			register __m128d acc = _mm_set1_pd(k);
			double end = t_now() + 0.15;
			long n = 0;
			while (t_now() < end)
				for (int j = 0; j < 1000; j++, n++) {
					acc = _mm_add_pd(acc, _mm_set1_pd(1.0));
					__asm__ volatile("" : "+x"(acc));
				}
			want = k + (double)n;
			x = _mm_cvtsd_f64(acc);
			_exit(x == want ? 0 : 1);
		}
	int st;
	for (int k = 0; k < 4; k++)
		CHECK(wait(&st) > 0 && st == 0);
	say("switches ok");
}
