# Names, types, modes, owners, sizes and times of the whole tree.
# seconds: 120
cd /
skip='-path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /lost+found'
find / -xdev \( $skip \) -prune -o -print | sort | sha256sum
find / -xdev \( $skip \) -prune -o ! -type d -printf '%p %y %m %U %G %s %n %l %T@\n' | sort | tee /tmp/w/list | sha256sum
find / -xdev \( $skip \) -prune -o -type d -printf '%p %m %U %G\n' | sort | sha256sum
head -c 3000 /tmp/w/list
find /usr/share -xdev -name '*.gz' -newer /etc/passwd | wc -l
