# perl: text, files, processes, signals.
cat >t.pl <<'EOF'
use strict; use warnings; use POSIX qw(:sys_wait_h strftime); use Fcntl ':flock'; use File::Temp 'tempfile'; use Digest::SHA 'sha1_hex'; use Time::HiRes 'sleep';
$| = 1;
my %n; $n{length $_}++ for map { "x" x ($_ % 7) } 1 .. 1000; print join(",", map { "$_=$n{$_}" } sort keys %n), "\n";
print sha1_hex("umbra"), " ", strftime("%F", gmtime(86400 * 365)), "\n";
open my $p, "-|", "sort -n | head -3" or die; print <$p>; close $p;
pipe(my $r, my $w); my $k = fork; if (!$k) { close $r; print $w "child\n"; exit 6 } close $w; print <$r>; waitpid $k, 0; print $? >> 8, "\n";
local $SIG{ALRM} = sub { print "alarm\n" }; alarm 1; select(undef, undef, undef, 3); print "woken\n";
local $SIG{USR1} = sub { print "usr1\n" }; kill USR1 => $$;
my ($fh, $name) = tempfile(UNLINK => 1); print $fh "line $_\n" for 1 .. 1000; flock $fh, LOCK_EX or die; seek $fh, 0, 0; my @l = <$fh>; print scalar(@l), " ", -s $name, "\n";
opendir my $d, "/etc" or die; my @e = sort grep { !/^\./ } readdir $d; print scalar(@e), " $e[0]\n";
print `echo back; exit 3`, $? >> 8, "\n"; open my $x, "<", "/no/such" or print "$!\n";
(my $t = "The quick brown fox") =~ s/(\w+)/\u\L$1/g; print "$t\n"; print join(" ", reverse 1 .. 5), "\n";
system("kill -TERM \$\$"); print $? & 127, "\n";
EOF
perl t.pl </dev/null; echo $?
perl -e 'print "$_\n" for sort { $a <=> $b } map { $_ * 7 % 11 } 1..10'
perl -ne '$c++ while /e/g; END { print "$c\n" }' /etc/passwd
