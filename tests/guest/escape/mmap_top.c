// expect: exit 0
// Nothing can be mapped, unmapped or protected at or above 0x7fffffffd000.
#include "../t.h"
int main(void)
{
	for (unsigned long a = 0x7fffffffd000; a <= 0x7fffffffe000; a += 4096) {
		CHECK(mmap((void *)a, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
		munmap((void *)a, PAGE);
		CHECK(mprotect((void *)a, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) == -1);
	}
	CHECK(mmap((void *)0x7ffffffff000, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED);
	char *m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mremap(m, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x7fffffffd000) == MAP_FAILED);
	OK(mmap((void *)0x700000000000, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	/* And system calls do not take buffers up there. */
	int p[2];
	OK(pipe(p));
	EQ(write(p[1], "12345678", 8), 8);
	ERR(read(p[0], (void *)0x7fffffffe000, 8), EFAULT);
	ERR(write(p[1], (void *)0x7fffffffe000, 8), EFAULT);
	return 0;
}
