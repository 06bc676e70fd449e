#!/bin/sh
# realwork: what people do all day in a Debian system (gcc, make, python3, tar, gzip),
# timed. Runs the same in a chroot and in a guest.
#
#   realwork.sh [DIR]       DIR is emptied, worked in and removed (/root/rw)
#
# One line a task: NAME SECONDS s, or NAME FAILED and why.
set -u
LC_ALL=C PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export LC_ALL PATH
work=${1:-/root/rw}
rm -rf "$work" && mkdir -p "$work" && cd "$work" || exit 1

# task NAME COMMAND...: the time from start to end, whatever it prints.
task() {
	name=$1
	shift
	start=$(date +%s.%N)
	"$@" >/dev/null 2>errors || echo "$name FAILED $(tail -n 1 errors)"
	echo "$name $start $(date +%s.%N)" | awk '{ printf "%-18s %8.2f s\n", $1, $3 - $2 }'
}

# A library of 250 small C files, as a compiler farm sees it.
n=0
while [ $n -lt 250 ]; do
	cat >unit$n.c <<EOF
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int sum$n(int n) { int s = 0; for (int i = 0; i < n; i++) { s += i * $n; if (s > 1000000) s = 0; } return s; }
char *tag$n(const char *text) { char *r = malloc(strlen(text) + 12); sprintf(r, "%s-%d", text, $n); return r; }
EOF
	n=$((n + 1))
done
cat >Makefile <<'EOF'
objects = $(patsubst %.c,%.o,$(wildcard unit*.c))
units.a: $(objects)
	ar rcs $@ $^
%.o: %.c
	gcc -O2 -c $< -o $@
EOF
cat >threads.py <<'EOF'
# Forty thousand items through four threads and back: hand-overs, not arithmetic.
import queue, threading
todo, done = queue.Queue(), queue.Queue()
def worker():
    while (item := todo.get()) is not None:
        done.put(2 * item)
crew = [threading.Thread(target=worker) for _ in range(4)]
for t in crew: t.start()
for i in range(40000): todo.put(i)
total = sum(done.get() for _ in range(40000))
for _ in crew: todo.put(None)
for t in crew: t.join()
assert total == 40000 * 39999
EOF
python=$(ls -d /usr/lib/python3.[0-9]* 2>/dev/null | head -n 1)

task make_j2 make -j2
task true_loop_3000 sh -c 'n=0; while [ $n -lt 3000 ]; do /bin/true; n=$((n + 1)); done'
task pipe_loop_1000 sh -c 'n=0; while [ $n -lt 1000 ]; do echo $n | sed s/1/2/ | tr 2 3; n=$((n + 1)); done'
task python_start_60 sh -c 'n=0; while [ $n -lt 60 ]; do python3 -c "import json, re, os"; n=$((n + 1)); done'
task find_walk sh -c 'for n in 1 2 3 4 5; do find /usr /etc /var -xdev | sort >names; done'
task sha256_usr_bin sh -c 'find /usr/bin /usr/lib/python3* -xdev -type f | xargs sha256sum >sums'
task untar_usr_lib sh -c "tar cf tree.tar -C / ${python#/} usr/include && mkdir tree && tar xf tree.tar -C tree"
task rm_tree rm -rf tree
task tar_gzip sh -c 'gzip -1 <tree.tar >tree.gz && gzip -dc tree.gz | cmp - tree.tar'
task compileall sh -c "cp -r $python/json $python/asyncio $python/email . && python3 -m compileall -q -f json asyncio email"
task dd_write_256M dd if=/dev/zero of=big bs=1M count=256 conv=fsync
task dd_read_256M dd if=big of=/dev/null bs=1M
task sort_3M sh -c 'seq 3000000 | sort -r | tail -n 1'
task python_threads python3 threads.py
cd / && rm -rf "$work"
