# make -j4 of a project of 200 files, again with nothing to do, then a part of it.
# seconds: 300
mkdir p; cd p
for n in $(seq 200); do
	printf '#include <stdio.h>\n#include "all.h"\nint f%d(int x) { return x + %d; }\n' "$n" "$n" >f$n.c
	echo "int f$n(int);"
done >all.h
{ echo '#include <stdio.h>'; echo '#include "all.h"'; echo 'int main(void) { long s = 0;'
  for n in $(seq 200); do echo "s += f$n($n);"; done; echo 'printf("%ld\n", s); return 0; }'; } >main.c
cat >Makefile <<'EOF'
OBJ = $(patsubst %.c,%.o,$(wildcard *.c))
prog: libf.a main.o ; gcc -o $@ main.o libf.a
libf.a: $(filter-out main.o,$(OBJ)) ; ar rcsD $@ $^
%.o: %.c all.h ; gcc -O1 -c -o $@ $<
clean: ; rm -f *.o *.a prog
.PHONY: clean
EOF
make -j4 2>&1 | sort | sha256sum; ./prog
make -j4 2>&1
touch f7.c f8.c; make -j4 2>&1 | sort | head -n 2
sha256sum prog libf.a | cut -c 1-64
printf 'a: b c\nb c:\n\t@sleep 0.1; echo $@; exit $(if $(filter b,$@),1,0)\n' >M; make -k -f M 2>&1; echo $?
make clean; ls | wc -l
