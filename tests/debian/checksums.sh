# Contents: every program and library.
# seconds: 120
sha256sum /usr/bin/* | sha256sum
find /usr/lib /etc /var/lib -xdev -type f -print0 | sort -z | xargs -0 md5sum | sha256sum
tar --sort=name -c /usr 2>&1 | sha256sum
