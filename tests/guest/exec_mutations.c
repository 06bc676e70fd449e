// seconds: 60
// execve of programs with absurd headers: chosen ones end as on Linux, seeded random ones end at all.
#include "t.h"
#include <elf.h>

static char *image;
static size_t size;

/* How an execve of this image ends. Past the point of no return that is a signal; which one is the host's affair. */
static const char *outcome(const char *bytes, size_t len)
{
	static char text[64];
	int fd = OK(open("m", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0755));
	EQ(write(fd, bytes, len), len);
	OK(close(fd));
	pid_t pid = OK(fork());
	if (pid == 0) {
		char *av[] = { "m", "child", NULL }, *ev[] = { NULL };
		int null = OK(open("/dev/null", O_RDWR));
		dup2(null, 0), dup2(null, 1), dup2(null, 2);
		alarm(5);
		execve("m", av, ev);
		_exit(errno);
	}
	int st;
	double end = t_now() + 10;
	while (waitpid(pid, &st, WNOHANG) == 0) {
		CHECK(t_now() < end);
		t_msleep(1);
	}
	if (WIFSIGNALED(st)) {
		CHECK(WTERMSIG(st) != SIGALRM);
		return "signal";
	}
	if (WEXITSTATUS(st) == 200)
		return "runs";
	snprintf(text, sizeof text, "%s", strerrorname_np(WEXITSTATUS(st)) ?: "?");
	return text;
}

static char *copy(void)
{
	char *c = malloc(size);
	memcpy(c, image, size);
	return c;
}

/* Linux finds some of these after the point of no return and kills; to refuse them before is as good. */
static const char *verdict(const char *outcome, int exact)
{
	return exact || !strcmp(outcome, "runs") ? outcome : "refused";
}

#define EH(c) ((Elf64_Ehdr *)(c))
#define PH(c) ((Elf64_Phdr *)((c) + EH(c)->e_phoff))
/* The headers changed by the statements, and what comes of it. */
#define TRY(what, ...) TRY_AS(1, what, __VA_ARGS__)
/* The same where it only must not run. */
#define NOT(what, ...) TRY_AS(0, what, __VA_ARGS__)
#define TRY_AS(exact, what, ...) do { \
	char *c = copy(); \
	size_t len = size; \
	Elf64_Ehdr *e = EH(c); \
	Elf64_Phdr *load = PH(c), *text = load; \
	while (load->p_type != PT_LOAD) \
		load++; \
	text = load; \
	while (!(text->p_flags & PF_X)) \
		text++; \
	(void)e, (void)text; \
	__VA_ARGS__; \
	printf("%s: %s\n", what, verdict(outcome(c, len), exact)); \
	free(c); \
	} while (0)

/* Makes the GNU_STACK header an interpreter's. */
static void interp(char *c, size_t off, const char *name, size_t n)
{
	Elf64_Phdr *p = PH(c);
	while (p->p_type != PT_GNU_STACK)
		p++;
	p->p_type = PT_INTERP;
	p->p_offset = off;
	p->p_filesz = p->p_memsz = n;
	if (name)
		memcpy(c + off, name, n);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return 200;
	int fd = OK(open("/proc/self/exe", O_RDONLY));
	size = lseek(fd, 0, SEEK_END);
	image = malloc(size);
	EQ(pread(fd, image, size, 0), size);
	OK(close(fd));
	/* Room for names that nobody needs: the section headers at the end. */
	size_t spare = size - 128;

	TRY("unchanged", );
	TRY("no magic", e->e_ident[0] = 0);
	/* Not here: a 32-bit or big-endian mark, which Linux does not look at and a careful loader may. */
	TRY("another machine", e->e_machine = EM_AARCH64);
	TRY("object file", e->e_type = ET_REL);
	TRY("core file", e->e_type = ET_CORE);
	TRY("type 0xffff", e->e_type = 0xffff);
	TRY("version 77", e->e_version = 77);
	TRY("phentsize 55", e->e_phentsize = 55);
	TRY("phentsize 0", e->e_phentsize = 0);
	TRY("no headers", e->e_phnum = 0);
	TRY("65535 headers", e->e_phnum = 0xffff);
	TRY("headers beyond the end", e->e_phoff = size + 4096);
	TRY("headers at the end", e->e_phoff = size - 20);
	TRY("headers at -1", e->e_phoff = -1L);
	TRY("section headers absurd", e->e_shoff = -1L; e->e_shnum = 0xfff0; e->e_shentsize = 1);
	TRY("entry in nothing", e->e_entry = 0x123);
	TRY("entry in the kernel", e->e_entry = 0xffffffff81000000);
	TRY("entry not canonical", e->e_entry = 0x8000000000000000);
	NOT("file longer than memory", load->p_filesz = load->p_memsz + 1);
	NOT("memory huge", load->p_memsz = 1UL << 62);
	NOT("memory to the top", load->p_memsz = 0x800000000000 - load->p_vaddr);
	NOT("both sizes wrap", load->p_filesz = load->p_memsz = -1UL);
	NOT("address in the kernel", load->p_vaddr = 0xffff800000000000);
	NOT("address at the top", text->p_vaddr = 0x7ffffffff000);
	NOT("address 0", load->p_vaddr = 0);
	NOT("offset misaligned", load->p_offset += 1);
	NOT("offset negative", load->p_offset = -4096L);
	NOT("segments all gone", for (int i = 0; i < e->e_phnum; i++) PH(c)[i].p_type = PT_NULL);
	TRY("text not executable", text->p_flags = PF_R);
	TRY("no interpreter there", interp(c, spare, "/nowhere", 9));
	TRY("interpreter is a directory", interp(c, spare, "/tmp", 5));
	TRY("interpreter without an end", interp(c, spare, "/tmpxxxx", 8));
	TRY("interpreter name of 1", interp(c, spare, "", 1));
	TRY("interpreter name of 0", interp(c, spare, "", 0));
	TRY("interpreter name too long", interp(c, 0, NULL, 4097));
	TRY("interpreter name huge", interp(c, 0, NULL, 1UL << 40));
	NOT("interpreter beyond the end", interp(c, size + 100, NULL, 9));
	TRY("interpreter is no program", interp(c, spare, "/proc/self/comm", 16));
	TRY("empty", len = 0);
	TRY("four bytes", len = 4);
	TRY("half a header", len = 32);
	TRY("a header only", len = 64);

	/* Any fields, any values: it must only end, and this system must go on. */
	static const unsigned long values[] = { 0, 1, 0x7f, 0xfff, 0x1000, 0xffff, 0x7fffffff, 0xffffffff, 0x7ffffffff000,
		0x800000000000, 0x7fffffffffffffff, -1UL, -4096UL };
	unsigned long x = 88172645463325252UL;
	size_t heads = sizeof(Elf64_Ehdr) + EH(image)->e_phnum * sizeof(Elf64_Phdr);
	for (int i = 0; i < 60; i++) {
		char *c = copy();
		for (int n = 0; n < 1 + i % 4; n++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			size_t at = 16 + (x >> 8) % (heads - 24);
			unsigned long v = values[(x >> 32) % 13];
			memcpy(c + at, &v, x & 1 ? 8 : x & 2 ? 4 : 2);
		}
		outcome(c, size);
		free(c);
	}
	say("all ended");
}
