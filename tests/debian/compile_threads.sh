# gcc: a program with threads, dynamic and static; errors; other languages' front ends.
# seconds: 120
cat >t.c <<'EOF'
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <locale.h>
#include <dlfcn.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t b;
static __thread int mine;
static long sum;
static sigjmp_buf j;
static void *work(void *a)
{
	pthread_barrier_wait(&b);
	for (int i = 0; i < 20000; i++) { mine++; pthread_mutex_lock(&m); sum += (long)a; pthread_mutex_unlock(&m); }
	return (void *)(long)mine;
}
static void on(int s) { siglongjmp(j, s); }
int main(int argc, char **argv)
{
	pthread_t t[8];
	long total = 0;
	pthread_barrier_init(&b, NULL, 8);
	for (long i = 0; i < 8; i++) pthread_create(&t[i], NULL, work, (void *)i);
	for (int i = 0; i < 8; i++) { void *r; pthread_join(t[i], &r); total += (long)r; }
	printf("%ld %ld %.6f %s\n", sum, total, sin(argc), getenv("HOME"));
	signal(SIGSEGV, on);
	int s = sigsetjmp(j, 1);
	if (!s) *(volatile int *)16 = 1;
	printf("signal %d\n", s);
	char *big = malloc(100 << 20);
	memset(big, 1, 100 << 20);
	printf("%d\n", big[99 << 20]);
	return 42;
}
EOF
gcc -O2 -Wall -pthread -o dyn t.c -lm 2>&1 && ./dyn; echo $?
gcc -O0 -g -static -pthread -o stat t.c -lm 2>&1 && ./stat; echo $?
gcc -O2 -c -o t.o t.c 2>&1; objdump -d t.o | grep -c call; nm dyn | grep -c ' T '; readelf -h stat | grep Type
echo 'int main( {' >bad.c; gcc bad.c 2>&1 | head -n 3; echo "${PIPESTATUS[0]}"
echo 'int f(void) { return 5; }' >l.c; gcc -shared -fPIC -o libl.so l.c; echo 'int f(void); int main(void) { return f(); }' >u.c
gcc -o u u.c -L. -ll -Wl,-rpath,. && ./u; echo $?
ldd dyn | awk '{print $1}'; file dyn stat | sed 's/BuildID[^,]*,//'
gcc -E - </dev/null | tail -n 1; gcc -dM -E - </dev/null | sort | sha256sum
