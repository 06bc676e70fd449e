// sockets: /proc/net/unix, /proc/PID/fd, and variables in /proc/sys/net.
#include "sock.h"

/* The line of a socket in /proc/net/unix by its inode: type, state, flags, path. 0 if there is none. */
static int line_of(unsigned long ino, unsigned *type, unsigned *st, unsigned *flags, char *path)
{
	FILE *f = fopen("/proc/net/unix", "r");
	char line[512];
	int found = 0;
	CHECK(f && fgets(line, sizeof line, f));
	EQ(strcmp(line, "Num       RefCount Protocol Flags    Type St Inode Path\n"), 0);
	while (fgets(line, sizeof line, f)) {
		unsigned long num, i;
		unsigned ref, proto, fl, ty, s;
		char p[256] = "";
		CHECK(sscanf(line, "%lx: %x %x %x %x %x %lu %255s", &num, &ref, &proto, &fl, &ty, &s, &i, p) >= 7);
		CHECK(ref >= 1 && proto == 0);
		if (i == ino) {
			*type = ty, *st = s, *flags = fl;
			strcpy(path, p);
			found++;
		}
	}
	fclose(f);
	return found;
}

static unsigned type, st, flags;
static char path[256];
static int look(int fd)
{
	struct stat s;
	OK(fstat(fd, &s));
	return line_of(s.st_ino, &type, &st, &flags, path);
}

int main(void)
{
	int s = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	EQ(look(s), 1);
	CHECK(type == 2 && st == 1 && flags == 0 && !*path);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	memcpy(a.sun_path, "\0t-proc\0x", 9);
	OK(bind(s, (void *)&a, 2 + 9));
	EQ(look(s), 1);
	EQ(strcmp(path, "@t-proc@x"), 0);
	struct stat sb;
	OK(fstat(s, &sb));
	close(s);
	EQ(line_of(sb.st_ino, &type, &st, &flags, path), 0);
	int l = t_listen(SOCK_STREAM, "srv", 3), c = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	EQ(look(l), 1);
	CHECK(type == 1 && st == 1 && flags == 0x10000 && !strcmp(path, "srv"));
	OK(t_connect(c, "srv"));
	EQ(look(c), 1);
	CHECK(type == 1 && st == 3 && flags == 0 && !*path);
	int q = OK(accept(l, NULL, NULL));
	EQ(look(q), 1);
	CHECK(type == 1 && st == 3 && flags == 0 && !strcmp(path, "srv"));
	int p[2];
	OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p));
	EQ(look(p[0]), 1);
	CHECK(type == 5 && st == 3);
	/* variables */
	static const char *vars[] = { "core/somaxconn", "core/wmem_default", "core/wmem_max", "core/rmem_max", "unix/max_dgram_qlen" };
	for (unsigned i = 0; i < sizeof vars / sizeof *vars; i++) {
		char name[128];
		int v = 0;
		snprintf(name, sizeof name, "/proc/sys/net/%s", vars[i]);
		FILE *f = fopen(name, "r");
		CHECK(f && fscanf(f, "%d", &v) == 1 && v > 0);
		fclose(f);
		printf("%s %d\n", vars[i], v);
	}
	return 0;
}
