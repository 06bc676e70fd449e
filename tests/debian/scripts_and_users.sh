# Programs that change who they are, and scripts in all their forms.
printf '#!/bin/sh\necho "$0 $1"\n' >s; chmod 755 s; ./s x; sh ./s y
printf '#!/usr/bin/env perl\nprint "perl @ARGV\\n";' >q; chmod 755 q; ./q a b
printf 'echo no first line\n' >n; chmod 755 n; ./n; bash -c ./n
printf '#!/no/such\n' >b; chmod 755 b; ./b 2>&1 | sed 's/^.*: //'; chmod 644 s; ./s; echo $?
setpriv --reuid 1000 --regid 1000 --clear-groups sh -c 'id; cat /etc/shadow; : >/tmp/mine; ls -ln /tmp/mine' 2>&1 | sed 's/[A-Z][a-z][a-z] .*:.. /date /'
setpriv --reuid 1000 --clear-groups sh -c 'su -c true; kill -0 1; echo $?' 2>&1 </dev/null
runuser -u nobody -- id; su daemon -s /bin/sh -c 'id -un'; setsid sh -c 'echo session'
stat -c '%A %n' /usr/bin/su /usr/bin/passwd /tmp; getent passwd root; getent hosts localhost 2>&1 | head -n 1
chroot / /bin/sh -c 'echo in chroot'
useradd -m tester && id tester && echo 'echo hi from $HOME' | su - tester; userdel -r tester 2>/dev/null; id tester 2>&1
