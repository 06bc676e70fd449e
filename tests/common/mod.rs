//! What the integration tests share: building guest programs and images,
//! running batches of programs natively and in Umbra, and comparing.
//!
//! The way of one program: `tests/guest/NAME.c` is compiled (once, by its
//! time), put with all others into one ext4 image, and run there by
//! `runner.c`, which is also what runs it natively.
// Each test binary uses its part of this.
#![allow(dead_code)]

pub(crate) mod batch;
pub(crate) mod build;
pub(crate) mod host;
#[allow(unreachable_pub)] // arch/tests/controls.rs reads it, too
pub(crate) mod stubcalls;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The kernel under test: the one just built, or what UMBRA_BIN names.
pub(crate) fn umbra_bin() -> String {
    std::env::var("UMBRA_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_umbra").into())
}

/// The repository.
pub(crate) fn repo() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory that outlives the tests: built programs and images.
pub(crate) fn cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// A directory of one test, removed when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("umbra-{name}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a scratch directory can be made");
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// True when the tests run as root: then all programs can be compared with the host.
pub(crate) fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|s| {
        s.lines()
            .find_map(|l| l.strip_prefix("Uid:"))
            .is_some_and(|l| l.split_whitespace().nth(1) == Some("0"))
    })
}

/// Runs a host tool that must succeed; its standard output.
pub(crate) fn tool(cmd: &mut Command) -> String {
    // Debian keeps the ext4 tools where an ordinary user's PATH does not look.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let out = cmd.env("PATH", path).stdin(Stdio::null()).output();
    let out =
        out.unwrap_or_else(|e| panic!("{cmd:?}: {e} (scripts/test installs what is missing)"));
    assert!(
        out.status.success(),
        "{cmd:?}: {}\n{}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// `umbra run PARAMS IMAGE -- CMD...`, not started yet. UMBRA_PARAMS adds parameters: another backend.
pub(crate) fn umbra(params: &[&str], image: &Path, cmd: &[&str]) -> Command {
    let more = std::env::var("UMBRA_PARAMS").unwrap_or_default();
    let mut c = Command::new(umbra_bin());
    c.arg("run").args(more.split_whitespace()).args(params).arg(image).arg("--").args(cmd);
    c
}

/// The machines, as parameters.
pub(crate) const BACKENDS: [&str; 2] = ["backend=ptrace", "backend=shm"];

/// A child that is killed if the test gives up on it.
#[derive(Debug)]
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs to the end with this input; panics when it takes longer than the limit.
pub(crate) fn run(cmd: &mut Command, input: &[u8], limit: Duration) -> Output {
    let child = cmd.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Guard(child.unwrap_or_else(|e| panic!("{cmd:?}: {e}")));
    let mut stdin = child.0.stdin.take().expect("stdin is piped");
    let mut stdout = child.0.stdout.take().expect("stdout is piped");
    let mut stderr = child.0.stderr.take().expect("stderr is piped");
    let start = Instant::now();
    std::thread::scope(|s| {
        s.spawn(move || {
            // The child may end without reading it all.
            let _ = stdin.write_all(input);
        });
        let out = s.spawn(move || read_all(&mut stdout));
        let err = s.spawn(move || read_all(&mut stderr));
        let status = loop {
            match child.0.try_wait().expect("our own child can be waited for") {
                Some(status) => break status,
                None if start.elapsed() > limit => {
                    let _ = child.0.kill();
                    let err = err.join().unwrap_or_default();
                    panic!("{cmd:?}: not done after {limit:?}\n{}", String::from_utf8_lossy(&err));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let stdout = out.join().expect("the reader does not panic");
        let stderr = err.join().expect("the reader does not panic");
        Output { status, stdout, stderr }
    })
}

fn read_all(from: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = from.read_to_end(&mut all);
    all
}

/// One command in the image, with nothing on standard input, within a minute.
pub(crate) fn guest(params: &[&str], image: &Path, cmd: &[&str]) -> Output {
    run(&mut umbra(params, image, cmd), b"", Duration::from_secs(60))
}

/// A shell command in the image that must exit 0; its standard output.
pub(crate) fn sh(params: &[&str], image: &Path, script: &str) -> String {
    let out = guest(params, image, &["/bin/sh", "-c", script]);
    assert_eq!(
        out.status.code(),
        Some(0),
        "{script}\n{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Starts it with pipes and waits for the line `up` on its standard output.
pub(crate) fn start(cmd: &mut Command) -> Guard {
    let child = cmd.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Guard(child.unwrap_or_else(|e| panic!("{cmd:?}: {e}")));
    let mut seen = Vec::new();
    let out = child.0.stdout.as_mut().expect("stdout is piped");
    let mut b = [0];
    while !seen.ends_with(b"up\n") {
        if !matches!(out.read(&mut b), Ok(1)) {
            let mut err = String::new();
            let _ = child.0.stderr.as_mut().expect("piped").read_to_string(&mut err);
            panic!("{cmd:?} ended early: {}{err}", String::from_utf8_lossy(&seen));
        }
        seen.push(b[0]);
    }
    child
}

/// A refusal: non-zero, something to read, and nothing that looks like a crash.
pub(crate) fn one_clear_line(out: &Output) {
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code().is_some_and(|c| c != 0 && c != 134), "{out:?}");
    assert!(!err.trim().is_empty(), "no message");
    assert!(!crashed(&err), "{err}");
    assert!(err.lines().count() <= 3, "more than a clear line:\n{err}");
}

/// What a kernel that gave up leaves on standard error.
pub(crate) fn crashed(err: &str) -> bool {
    err.contains("panicked") || err.contains("kernel panic") || err.contains("RUST_BACKTRACE")
}

/// Straight to the terminal: libtest hides what a passing test prints.
pub(crate) fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Says that a test did not run; libtest has no word for it.
pub(crate) fn skipped(test: &str, why: &str) {
    say(&format!("{test}: skipped, {why}"));
}

/// True if this host tool is there.
pub(crate) fn have(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').any(|d| Path::new(d).join(tool).exists())
}

/// How often: a test's own default, or what UMBRA_ROUNDS says for long campaigns.
pub(crate) fn rounds(default: u64) -> u64 {
    std::env::var("UMBRA_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Numbers that are the same in each run (xorshift).
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// A private copy of the default image.
pub(crate) fn copy_of_busybox(dir: &Scratch) -> PathBuf {
    let to = dir.path("image.ext4");
    std::fs::copy(busybox_image(), &to).expect("the image can be copied");
    to
}

/// The image must be clean to e2fsck without any repair.
pub(crate) fn fsck(image: &Path) {
    tool(Command::new("e2fsck").arg("-fn").arg(image));
}

/// The default busybox image, made by scripts/mkrootfs and kept.
pub(crate) fn busybox_image() -> PathBuf {
    use std::sync::OnceLock;
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE
        .get_or_init(|| {
            let image = cache().join("busybox.ext4");
            let sources = [repo().join("scripts/mkrootfs"), repo().join("rootfs")];
            if !sources.iter().all(|s| build::newer(&image, s)) {
                tool(Command::new(&sources[0]).arg("busybox").arg(&image));
            }
            image
        })
        .clone()
}
