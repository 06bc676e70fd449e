//! Real programs in a Debian image, against the same tree entered by chroot on
//! the host: standard output and status must be equal. The programs are in
//! `debian/`, one shell script each: a file is a case, nothing else is needed.
//!
//! Needs a Debian mirror the first time; the image is kept. chroot is for root: an ordinary user is root in a
//! namespace with a range of ids of its own (the package uidmap, and a line in /etc/subuid).

mod common;

use common::batch::{Verdicts, clip};
use common::{Guard, Scratch, cache, is_root, repo, run, skipped, tool, umbra};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

const PACKAGES: &str = "python3,perl,gcc,libc6-dev,make,procps,strace,file,vim-tiny";

/// The image and the tree it was made of.
struct Debian {
    image: PathBuf,
    tree: PathBuf,
}

/// Makes both, or takes those of an earlier run. Without a mirror there are none.
fn debian() -> Option<&'static Debian> {
    static MADE: OnceLock<Option<Debian>> = OnceLock::new();
    MADE.get_or_init(|| {
        let mut probe = Command::new("unshare");
        if !probe.args(namespace()).arg("true").output().is_ok_and(|o| o.status.success()) {
            skipped("debian", "chroot needs root, or uidmap and a range of ids in /etc/subuid");
            return None;
        }
        let d = Debian { image: cache().join("debian.ext4"), tree: cache().join("debian-root") };
        // What it is made of; another list of packages makes another image.
        let mark = cache().join("debian.packages");
        let made = fs::read_to_string(&mark).is_ok_and(|m| m == PACKAGES);
        if made && d.image.exists() && d.tree.join("usr/bin/python3").exists() {
            return Some(d);
        }
        let mut remove = Command::new("unshare");
        let removed = remove.args(namespace()).args(["rm", "-rf"]).arg(&d.tree).status();
        assert!(removed.is_ok_and(|s| s.success()), "an old tree stands in the way");
        let mut make = Command::new(repo().join("scripts/mkrootfs"));
        make.args(["debian", "--include", PACKAGES, "--tree"]).arg(&d.tree).arg(&d.image);
        let out = make.output().expect("scripts/mkrootfs starts");
        if !out.status.success() {
            let err = String::from_utf8_lossy(&out.stderr);
            skipped("debian", &format!("no image: {}", err.lines().last().unwrap_or("?")));
            return None;
        }
        fs::write(&mark, PACKAGES).expect("the cache is writable");
        Some(d)
    })
    .as_ref()
}

/// Options of unshare(1) that make an ordinary user root over the tree.
fn namespace() -> &'static [&'static str] {
    if is_root() { &[] } else { &["--user", "--map-auto", "--map-root-user"] }
}

/// The environment that `umbra run` gives to its program.
const ENV: [&str; 6] = [
    "HOME=/root",
    "USER=root",
    "LOGNAME=root",
    "TERM=dumb",
    "LC_ALL=C.UTF-8",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
];

/// The script through bash, in /tmp, on either side the same.
fn program(script: &str) -> Vec<String> {
    let mut all = vec!["/usr/bin/env".to_owned(), "-i".to_owned()];
    all.extend(ENV.iter().map(|e| (*e).to_owned()));
    let head = "umask 022; export PYTHONDONTWRITEBYTECODE=1; mkdir -p /tmp/w; cd /tmp/w\n";
    all.extend(["/bin/bash".to_owned(), "-c".to_owned(), format!("{head}{script}")]);
    all
}

/// In the tree, under an overlay that forgets, with mounts and processes of its own.
fn native(tree: &Path, script: &str, limit: Duration) -> Output {
    let dir = Scratch::new("chroot");
    let set_up = "mount -t tmpfs none \"$2\"; mkdir \"$2/u\" \"$2/w\" \"$2/r\"; \
        mount -t overlay -o \"lowerdir=$1,upperdir=$2/u,workdir=$2/w$OVERLAY\" none \"$2/r\"; r=$2/r; \
        mount -t proc none \"$r/proc\"; mount --rbind /sys \"$r/sys\"; mount --rbind /dev \"$r/dev\"; \
        mount -t tmpfs none \"$r/tmp\"; chmod 1777 \"$r/tmp\"; hostname umbra; shift 2; exec chroot \"$r\" \"$@\"";
    let mut cmd = Command::new("unshare");
    cmd.args(namespace()).env("OVERLAY", if is_root() { "" } else { ",userxattr" });
    // A group of its own, so that a script's kill 0 does not reach the tests.
    cmd.args(["--mount", "--pid", "--uts", "--fork", "--kill-child", "setsid", "--wait"]);
    cmd.args(["sh", "-euc", set_up, "sh"]).arg(tree).arg(&dir.0).args(program(script));
    run(&mut cmd, b"", limit)
}

fn in_umbra(params: &[&str], image: &Path, script: &str, limit: Duration) -> Output {
    let words = program(script);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut all = vec!["mem=1G", "quiet"];
    all.extend(params);
    run(&mut umbra(&all, image, &words), b"", limit)
}

/// One script: `# seconds: N` in its head is how long it may take.
struct Case {
    name: String,
    script: String,
    limit: Duration,
}

fn cases() -> Vec<Case> {
    let dir = repo().join("tests/debian");
    let mut all = Vec::new();
    for e in fs::read_dir(dir).expect("the programs are there").flatten() {
        let name = e.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".sh") {
            let script = fs::read_to_string(e.path()).expect("a script is readable text");
            let seconds = script.lines().find_map(|l| l.strip_prefix("# seconds: ")?.parse().ok());
            let limit = Duration::from_secs(seconds.unwrap_or(60));
            all.push(Case { name: name.to_owned(), script, limit });
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    if let Ok(only) = std::env::var("UMBRA_ONLY") {
        all.retain(|c| only.split(',').any(|o| o == c.name));
    }
    all
}

/// The first lines that differ, of either side.
fn difference(host: &str, guest: &str) -> String {
    let (h, g): (Vec<_>, Vec<_>) = (host.lines().collect(), guest.lines().collect());
    let at = h.iter().zip(&g).position(|(a, b)| a != b).unwrap_or(h.len().min(g.len()));
    let show =
        |l: &[&str]| l.iter().skip(at).take(6).map(|s| format!("      {s}\n")).collect::<String>();
    format!("    line {}\n    host:\n{}    umbra:\n{}", at + 1, show(&h), show(&g))
}

/// Every second script, so that two run side by side.
fn half(which: usize) {
    let Some(debian) = debian() else { return };
    let known = common::batch::expected_failures();
    let mut verdicts = Verdicts::default();
    for case in cases().iter().skip(which).step_by(2) {
        let host = native(&debian.tree, &case.script, case.limit);
        let guest =
            std::panic::catch_unwind(|| in_umbra(&[], &debian.image, &case.script, case.limit));
        let name = format!("debian/{}", case.name);
        let failure = match guest {
            Err(_) => Some(format!("no end within {:?}", case.limit)),
            Ok(g) if g.stdout == host.stdout && g.status.code() == host.status.code() => None,
            Ok(g) => Some(explain(&host, &g)),
        };
        verdicts.add(&name, failure, known.get(&name));
    }
    verdicts.finish("programs in Debian");
}

fn explain(host: &Output, guest: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "host {}, umbra {}\n{}    umbra's standard error:\n{}",
        host.status,
        guest.status,
        difference(&text(&host.stdout), &text(&guest.stdout)),
        clip(&text(&guest.stderr))
    )
}

#[test]
fn programs_first_half() {
    half(0);
}

#[test]
fn programs_second_half() {
    half(1);
}

/// Figures differ; that each tool finds what it reads, and prints it in its shape, must not.
#[test]
fn system_tools_have_their_shape() {
    let Some(debian) = debian() else { return };
    let out = in_umbra(
        &[],
        &debian.image,
        "for c in 'ps aux' 'top -b -n1' df mount free uptime 'vmstat' 'w' 'pgrep -l bash' 'ps -ef --forest' \
         'cat /proc/cpuinfo' 'cat /proc/self/mountinfo' 'id' 'tty' 'stty -a' 'nproc' 'pmap $$' 'lsblk -n -o NAME'; \
         do echo \"<$c>\"; eval \"$c\" 2>&1; echo \"[$?]\"; done",
        Duration::from_secs(60),
    );
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let of = |c: &str| {
        let start = text.find(&format!("<{c}>\n")).unwrap_or_else(|| panic!("no {c} in {text}"));
        let rest = &text[start + c.len() + 3..];
        rest[..rest.find("\n<").unwrap_or(rest.len())].to_owned()
    };
    let shapes: &[(&str, &[&str])] = &[
        ("ps aux", &["USER", "%CPU", "ps aux\n", "/bin/bash", "[0]"]),
        (
            "top -b -n1",
            &[
                "top - ",
                "load average:",
                "Tasks:",
                "%Cpu(s):",
                "MiB Mem :",
                "PID USER",
                " top\n",
                "[0]",
            ],
        ),
        ("df", &["Filesystem", "/dev/ubda", "% /\n", "/tmp\n", "[0]"]),
        (
            "mount",
            &["/dev/ubda on / type ext4 (", "proc on /proc type proc", "on /tmp type tmpfs", "[0]"],
        ),
        ("free", &["total", "Mem:", "Swap:", "[0]"]),
        ("uptime", &[" up ", "load average:", "[0]"]),
        ("vmstat", &["procs", "memory", "free", "[0]"]),
        ("w", &["load average:", "[0]"]),
        ("pgrep -l bash", &["bash", "[0]"]),
        ("ps -ef --forest", &["UID", "PPID", "ps -ef --forest", "[0]"]),
        ("cat /proc/cpuinfo", &["processor\t: 0", "model name", "flags", "[0]"]),
        ("cat /proc/self/mountinfo", &[" / / ", " - ext4 /dev/ubda ", "[0]"]),
        ("id", &["uid=0(root) gid=0(root)", "[0]"]),
        ("tty", &["not a tty", "[1]"]),
        ("nproc", &["1\n", "[0]"]),
        ("pmap $$", &["total", "[ stack ]", "bash", "[0]"]),
    ];
    let mut bad = String::new();
    for (c, wanted) in shapes {
        let got = of(c);
        for w in wanted.iter().filter(|w| !got.contains(**w)) {
            let _ = writeln!(bad, "== {c}: no {w:?} in\n{got}");
        }
    }
    assert!(bad.is_empty(), "{bad}");
}

/// A package of our own, built on the host, installed, used and removed in the image.
#[test]
fn dpkg_installs_a_package() {
    let Some(debian) = debian() else { return };
    let dir = Scratch::new("dpkg");
    let image = dir.path("image.ext4");
    tool(Command::new("cp").arg("--sparse=always").arg(&debian.image).arg(&image));
    let pkg = dir.path("pkg");
    let file = |path: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let p = pkg.join(path);
        fs::create_dir_all(p.parent().expect("it has one")).expect("writable");
        fs::write(&p, text).expect("writable");
        fs::set_permissions(&p, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let control = "Package: umbra-greeting\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <n@example.org>\n\
                   Description: says hello\n";
    file("DEBIAN/control", control, 0o644);
    file("DEBIAN/conffiles", "/etc/greeting\n", 0o644);
    file("DEBIAN/postinst", "#!/bin/sh\nset -e\necho configured as $1 >/var/lib/greeting\n", 0o755);
    file("DEBIAN/postrm", "#!/bin/sh\nrm -f /var/lib/greeting\n", 0o755);
    file("usr/bin/greeting", "#!/bin/sh\ncat /etc/greeting\n", 0o755);
    file("etc/greeting", "hello from a package\n", 0o644);
    for n in 0..50 {
        file(&format!("usr/share/greeting/part-{n}"), &"text\n".repeat(n * 40), 0o644);
    }
    let deb = dir.path("greeting.deb");
    tool(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(&pkg).arg(&deb));
    let debugfs =
        |request: String| tool(Command::new("debugfs").args(["-w", "-R", &request]).arg(&image));
    debugfs(format!("write {} /root/greeting.deb", deb.display()));
    let minute = Duration::from_secs(60);
    let out = in_umbra(
        &["rw"],
        &image,
        "dpkg -i /root/greeting.deb && greeting && cat /var/lib/greeting && dpkg -L umbra-greeting | sort",
        minute,
    );
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("\nhello from a package\nconfigured as configure\n/.\n/etc\n"), "{text}");
    common::fsck(&image);
    let out = in_umbra(
        &["rw"],
        &image,
        "dpkg -s umbra-greeting | head -n 2; dpkg -V umbra-greeting; greeting; dpkg --purge umbra-greeting >/dev/null; \
         echo $?; ls /usr/share/greeting /etc/greeting /var/lib/greeting 2>&1 | wc -l",
        minute,
    );
    let text = String::from_utf8_lossy(&out.stdout);
    let want =
        "Package: umbra-greeting\nStatus: install ok installed\nhello from a package\n0\n3\n";
    assert_eq!(text, want, "{}", String::from_utf8_lossy(&out.stderr));
    common::fsck(&image);
}

/// The acceptance test that kills: during make -j4 in the Debian image.
#[test]
fn kill_nine_during_make() {
    use common::host::{sessions_of, survivors, until};
    let Some(debian) = debian() else { return };
    let script = "for n in $(seq 60); do echo \"int f$n(void){return $n;}\" >f$n.c; done; \
        printf 'all: $(patsubst %%.c,%%.o,$(wildcard f*.c))\\n' >Makefile; echo up; make -j4 >/dev/null";
    let words = program(script);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut rng = common::Rng::new(5);
    for round in 0..common::rounds(5) {
        let mut kernel: Guard = common::start(&mut umbra(&["quiet"], &debian.image, &words));
        std::thread::sleep(Duration::from_millis(50 + rng.below(800)));
        let sessions = sessions_of(kernel.0.id());
        kernel.0.kill().expect("it is our child");
        kernel.0.wait().expect("it is our child");
        let gone = until(Duration::from_secs(1), || survivors(&sessions).is_empty());
        assert!(gone && !sessions.is_empty(), "round {round}: {:?}", survivors(&sessions));
    }
}
