// MAP_GROWSDOWN grows when touched below and keeps its distance from neighbours.
#include "t.h"
#include <setjmp.h>
static sigjmp_buf j;
static void on(int s) { siglongjmp(j, 1); }
int main(void)
{
	/* Plenty of room below, found by reserving and giving back. */
	char *r = mmap(NULL, 4096 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(r != MAP_FAILED);
	char *m = r + 4000 * PAGE;
	EQ(munmap(r + PAGE, 4095 * PAGE), 0);
	char *g = mmap(m, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
	CHECK(g == m);
	g[0] = 1;
	for (int i = 1; i <= 20; i++)
		g[-(long)(i * PAGE) + 8] = i;
	for (int i = 1; i <= 20; i++)
		EQ(g[-(long)(i * PAGE) + 8], i);
	t_on(SIGSEGV, on, SA_NODEFER);
	volatile int died = 0;
	if (!sigsetjmp(j, 1))
		r[2 * PAGE] = 1; /* would come within the guard gap of the PROT_NONE page */
	else
		died = 1;
	printf("grown, near the neighbour: %s\n", died ? "refused" : "let through");
}
