// pthread_cancel interrupts blocking calls and runs the clean-up handlers.
#include "t.h"
#include <pthread.h>
static int cleaned, p[2];
static void clean(void *x) { cleaned++; }
static void *blocked(void *x)
{
	char c;
	pthread_cleanup_push(clean, NULL);
	read(p[0], &c, 1);
	pthread_cleanup_pop(0);
	return NULL;
}
int main(void)
{
	OK(pipe(p));
	for (int i = 0; i < 20; i++) {
		pthread_t t;
		void *r;
		EQ(pthread_create(&t, NULL, blocked, NULL), 0);
		if (i % 2)
			t_msleep(2);
		EQ(pthread_cancel(t), 0);
		EQ(pthread_join(t, &r), 0);
		CHECK(r == PTHREAD_CANCELED);
	}
	printf("cleaned %s\n", cleaned >= 10 ? "up" : "too little");
}
