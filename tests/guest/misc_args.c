// Arguments arrive as given.
// args: alpha -b --long=x 7
#include "t.h"
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		puts(argv[i]);
	CHECK(argv[argc] == NULL);
}
