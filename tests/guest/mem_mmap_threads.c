// Four threads map, touch and unmap at once; what each sees is its own.
#include "t.h"
#include <pthread.h>
static void *work(void *x)
{
	long id = (long)x;
	for (int i = 0; i < 300; i++) {
		size_t n = 1 + (id * 7 + i) % 20;
		char *m = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(m != MAP_FAILED);
		for (size_t k = 0; k < n; k++) {
			EQ(m[k * PAGE], 0);
			m[k * PAGE] = id;
		}
		if (i % 3 == 0)
			EQ(mprotect(m, PAGE, PROT_READ), 0);
		for (size_t k = 0; k < n; k++)
			EQ(m[k * PAGE], id);
		EQ(munmap(m, n * PAGE), 0);
	}
	return NULL;
}
int main(void)
{
	pthread_t t[4];
	for (long i = 0; i < 4; i++)
		EQ(pthread_create(&t[i], NULL, work, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++)
		EQ(pthread_join(t[i], NULL), 0);
	say("1200 mappings");
}
