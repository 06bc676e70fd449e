# vim-tiny without a terminal, diff, strace's absence of a tty, file.
printf 'one\ntwo\nthree\n' >f
vim.tiny -Nu NONE -es -c '%s/t/T/' -c '2d' -c 'normal Gonew line' -c 'wq' f; echo $?; cat f
vim.tiny -Nu NONE -es -c 'r !echo from a shell' -c 'wq' f </dev/null; cat f; ls -A | grep -v '^f$'
printf 'one\n' >g; diff -u --label a --label b f g; cmp f g
file /bin/bash /usr/bin/perl /etc/passwd /usr/share/common-licenses/GPL-3 /dev/null f
