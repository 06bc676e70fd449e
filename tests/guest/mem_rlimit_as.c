// RLIMIT_AS bounds mmap, brk and fork keeps it; munmap gives back.
#include "t.h"
int main(void)
{
	struct rlimit rl = { 256 << 20, RLIM_INFINITY };
	OK(setrlimit(RLIMIT_AS, &rl));
	char *m = mmap(NULL, 200 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(m != MAP_FAILED);
	CHECK(mmap(NULL, 100 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM);
	CHECK(mremap(m, 200 << 20, 300 << 20, MREMAP_MAYMOVE) == MAP_FAILED && errno == ENOMEM);
	IN_CHILD(CHECK(mmap(NULL, 100 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED));
	OK(munmap(m, 200 << 20));
	m = mmap(NULL, 100 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	say("RLIMIT_AS ok");
}
