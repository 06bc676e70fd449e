# What bash itself does: pipelines, substitutions, arrays, traps, jobs.
for i in 1 2 3; do echo $i; done | sort -r
diff <(seq 5) <(seq 2 6); echo "diff $?"
declare -A m=([one]=1 [two]=2); echo "${#m[@]} ${m[two]}"
mapfile -t lines < <(printf 'a\nb c\n'); echo "${lines[1]}"
cat <<EOF | tr a-z A-Z
here $((6 * 7))
EOF
trap 'echo caught usr1' USR1; kill -USR1 $$
trap 'echo leaving' EXIT
(exit 3) & wait $!; echo "wait $?"
sleep 0.1 & sleep 0.2 & wait -n; echo "first $?"; wait
coproc { while read -r l; do echo "<$l>"; done; }
echo hello >&"${COPROC[1]}"; read -r back <&"${COPROC[0]}"; echo "$back"
exec 7<>file; echo seven >&7; exec 7>&-; cat file
set -o pipefail; true | false | true; echo "pipe $? ${PIPESTATUS[*]}"
timeout 0.2 sleep 5; echo "timeout $?"
bash -c 'kill -9 $$'; echo "killed $?"
ulimit -s; umask
echo $(< file) ${BASH_VERSION%%.*} $PPID | awk '{print $1, $2}'
yes | head -n 100000 | wc -c
[[ -r /etc/passwd && ! -e /nowhere ]] && echo tests
set -m; sleep 5 & jobs | sed 's/ *$//'; kill %1; wait 2>/dev/null; echo "job $?"
exit 7
