# Holes larger than memory take none.
truncate -s 3G sparse; du -k sparse; stat -c %s sparse; head -c 2G sparse | tail -c 3 | od -c
cp --sparse=always sparse s2; du -k s2; cmp sparse s2; rm s2; echo $?
