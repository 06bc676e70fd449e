# coreutils, grep, sed, awk, xargs over what is in /usr/share and /etc.
# seconds: 120
find /usr/share/common-licenses -type f | sort | xargs cat | tr -cs A-Za-z '\n' | tr A-Z a-z | sort | uniq -c | sort -rn | head -n 20
grep -rc the /usr/share/common-licenses | sort
sed -n 's/^\([^:]*\):.*:\([^:]*\)$/\2 \1/p' /etc/passwd | sort | head
awk -F: '{ n[$7]++ } END { for (s in n) print n[s], s }' /etc/passwd | sort
seq 1 100000 | sort -R --random-source=/usr/bin/bash | sha256sum
seq 1 200000 | shuf --random-source=/usr/bin/perl | sort -n -S 1M -T . --parallel=2 | sha256sum
dd if=/dev/zero bs=1k count=5000 status=none | tr '\0' x | split -b 1M - part. ; ls part.*; cat part.* | wc -c
gzip -k part.aa; zcat part.aa.gz | cmp - part.aa && echo same; rm part.*
tee a b <<<"two files" | cat; cmp a b; paste a b; comm a b; join <(echo '1 a') <(echo '1 b')
seq 20 | xargs -n 3 -P 4 echo | sort; seq 5 | tac; printf '%s\n' b a | sort -c 2>&1
ln -s target link; readlink link; stat -c '%F %a %s' link a; cp -a link link2; ls -l link2 | awk '{print $1, $NF}'
touch -d '2001-02-03 04:05:06.789 UTC' t; stat -c '%y %Y' t; date -u -d @1e9 2>&1; TZ=UTC ls -l --full-time t
mkdir -p d/e/f; chmod 711 d; mv d g; cp -r g h; rmdir g/e/f; ls -R g h; rm -r g h; ls
mkfifo p; (echo through >p &); cat p; od -c a | head -n 1; base64 a; nl a; fold -w 4 a; expr 6 \* 7; factor 360
env | sort | grep -v '^_=\|^OLDPWD='; id -un; pwd; basename /a/b.c .c; numfmt --to=iec 1048576; sync; nice -n 5 nice
install -m 640 a inst; stat -c %a inst; chown 12:34 inst; stat -c '%u %g' inst; test -k /tmp; echo $?
tail -n 2 /etc/group; head -c 5 /etc/group; wc /etc/services /etc/group 2>&1; cut -d: -f1 /etc/group | tail -n 3
