// select and pselect: sets, time left, big descriptors and errors.
#include "t.h"
#include <sys/select.h>
int main(void)
{
	int p[2], q[2];
	OK(pipe(p));
	OK(pipe(q));
	fd_set r, w;
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(p[0], &r);
	FD_SET(q[0], &r);
	FD_SET(p[1], &w);
	EQ(write(q[1], "x", 1), 1);
	struct timeval tv = { 5, 0 };
	EQ(select(20, &r, &w, NULL, &tv), 2);
	printf("%d %d %d\n", !!FD_ISSET(p[0], &r), !!FD_ISSET(q[0], &r), !!FD_ISSET(p[1], &w));
	CHECK(tv.tv_sec == 4 && tv.tv_usec > 0); /* Linux writes what is left */
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	tv = (struct timeval){ 0, 30000 };
	double t = t_now();
	EQ(select(p[0] + 1, &r, NULL, NULL, &tv), 0);
	CHECK(t_now() - t >= 0.029);
	EQ(FD_ISSET(p[0], &r), 0);
	CHECK(tv.tv_sec == 0 && tv.tv_usec == 0);
	/* 63 and not more: Linux looks no further than its descriptor table, whose smallest size is 64. */
	FD_SET(63, &r);
	tv = (struct timeval){ 0, 0 };
	ERR(select(64, &r, NULL, NULL, &tv), EBADF);
	ERR(select(-1, NULL, NULL, NULL, &tv), EINVAL);
	tv = (struct timeval){ -1, 0 };
	ERR(select(0, NULL, NULL, NULL, &tv), EINVAL);
	EQ(dup2(q[0], 900), 900);
	FD_ZERO(&r);
	FD_SET(900, &r);
	EQ(select(901, &r, NULL, NULL, NULL), 1);
	CHECK(FD_ISSET(900, &r));
	struct timespec ts = { 0, 1000000 };
	EQ(pselect(0, NULL, NULL, NULL, &ts, NULL), 0);
	say("select ok");
}
