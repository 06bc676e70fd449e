// What comes in on standard input is what was sent, to the end.
// stdin: first line\nsecond line\nno newline at the end
#include "t.h"
int main(void)
{
	char b[200];
	int lines = 0;
	while (fgets(b, sizeof b, stdin)) {
		b[strcspn(b, "\n")] = 0;
		printf("%d: %s\n", ++lines, b);
	}
	CHECK(feof(stdin));
	EQ(read(0, b, 1), 0);
}
