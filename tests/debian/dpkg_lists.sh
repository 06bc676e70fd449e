# The package database and what reads it.
dpkg -l
dpkg -S /usr/bin/perl /bin/bash
dpkg -L coreutils | sort | sha256sum
dpkg --audit; echo $?
dpkg-query -W -f '${Package} ${Version} ${Status}\n' | sha256sum
apt-cache --version | head -n 1
apt-get --print-uris --dry-run install no-such-package 2>&1 | tail -n 1
