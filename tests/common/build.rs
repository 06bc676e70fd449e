//! Guest programs: what the head of each file says, compiling, and the image.

use super::{cache, repo, tool};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// One guest program, as the comments at the head of its source describe it.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) name: String,
    source: PathBuf,
    /// `// args: A B`
    args: String,
    /// `// stdin: text`, with \n for a newline.
    stdin: Option<String>,
    /// `// seconds: N`: how long it may take.
    pub(crate) seconds: u32,
    /// `// needs: root`: cannot be compared natively by an ordinary user.
    pub(crate) needs_root: bool,
    /// `// expect: exit N` or `// expect: signal A B`: for the escape probes.
    pub(crate) expect: String,
}

impl Program {
    fn read(source: PathBuf) -> Self {
        let text = fs::read_to_string(&source).expect("a guest program is readable text");
        let head: Vec<_> = text.lines().take_while(|l| l.starts_with("//")).collect();
        let field = |key: &str| {
            let found = head.iter().find_map(|l| l.strip_prefix("// ")?.strip_prefix(key));
            found.map(|v| v.trim_start_matches(':').trim().to_owned())
        };
        let name = source.file_stem().expect("it ends in .c").to_string_lossy().into_owned();
        Self {
            args: field("args:").unwrap_or_default(),
            stdin: field("stdin:").map(|s| s.replace("\\n", "\n")),
            seconds: field("seconds:").and_then(|s| s.parse().ok()).unwrap_or(20),
            needs_root: field("needs:").is_some_and(|n| n.contains("root")),
            expect: field("expect:").unwrap_or_else(|| "exit 0".into()),
            name,
            source,
        }
    }
}

/// True if `made` exists and is at least as new as `from` and everything in it.
pub(crate) fn newer(made: &Path, from: &Path) -> bool {
    fn latest(p: &Path) -> Option<SystemTime> {
        let meta = fs::metadata(p).ok()?;
        let mut t = meta.modified().ok()?;
        if meta.is_dir() {
            for e in fs::read_dir(p).ok()?.flatten() {
                t = t.max(latest(&e.path())?);
            }
        }
        Some(t)
    }
    match (fs::metadata(made).and_then(|m| m.modified()), latest(from)) {
        (Ok(m), Some(f)) => m >= f,
        _ => false,
    }
}

/// A set of built programs, their list, and the image that holds them.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) programs: Vec<Program>,
    pub(crate) bin: PathBuf,
    pub(crate) runner: PathBuf,
    pub(crate) image: PathBuf,
}

/// Builds `tests/guest/*.c` or, with a folder name, those in that folder.
/// `UMBRA_ONLY=NAME,...` selects by name.
pub(crate) fn suite(folder: &str) -> Suite {
    let guest = repo().join("tests/guest");
    let dir = cache().join(if folder.is_empty() { "guest" } else { folder });
    let tree = dir.join("tree");
    let bin = tree.join("t/bin");
    for d in ["t/bin", "bin", "dev", "proc", "sys", "tmp", "etc", "root"] {
        fs::create_dir_all(tree.join(d)).expect("the tree of the image can be made");
    }
    let mut programs: Vec<_> = fs::read_dir(guest.join(folder))
        .expect("the folder with guest programs is there")
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "c") && !p.ends_with("runner.c"))
        .map(Program::read)
        .collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    // What was a program once must not stay in the image.
    for old in fs::read_dir(&bin).expect("just made").flatten() {
        let stem = old.path().file_stem().map(|s| s.to_string_lossy().into_owned());
        if !programs.iter().any(|p| Some(&p.name) == stem.as_ref()) {
            let _ = fs::remove_file(old.path());
        }
    }
    let runner = tree.join("t/runner");
    let shared = guest.join("t.h");
    let mut jobs: Vec<(PathBuf, PathBuf)> = vec![(guest.join("runner.c"), runner.clone())];
    jobs.extend(programs.iter().map(|p| (p.source.clone(), bin.join(&p.name))));
    jobs.retain(|(from, to)| !newer(to, from) || !newer(to, &shared));
    compile(&jobs);
    for p in &programs {
        if let Some(text) = &p.stdin {
            write_if_new(&bin.join(format!("{}.stdin", p.name)), text);
        }
    }
    write_if_new(&tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
    let image = dir.join("image.ext4");
    if !newer(&image, &tree) {
        make_image(&tree, &image);
    }
    if let Ok(only) = std::env::var("UMBRA_ONLY") {
        let wanted: Vec<_> = only.split(',').filter(|n| !n.is_empty()).collect();
        programs.retain(|p| wanted.contains(&p.name.as_str()));
    }
    Suite { programs, bin, runner, image }
}

/// Keeps the time of a file that says this already, so that the image stays valid.
fn write_if_new(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::write(path, text).expect("the tree of the image is writable");
}

/// Compiles in two threads: a test machine may have no more than two CPUs.
fn compile(jobs: &[(PathBuf, PathBuf)]) {
    if jobs.is_empty() {
        return;
    }
    eprintln!("compiling {} guest programs", jobs.len());
    let next = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while let Some((from, to)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut cc = Command::new("cc");
                    cc.args(["-O1", "-w", "-static", "-pthread", "-s", "-o"]).arg(to).arg(from);
                    tool(&mut cc);
                }
            });
        }
    });
}

/// An ext4 image of this tree with some room to write.
pub(crate) fn make_image(tree: &Path, image: &Path) {
    let used = tool(Command::new("du").arg("-sm").arg(tree));
    let used: u64 = used.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(200);
    let _ = fs::remove_file(image);
    tool(
        Command::new("mke2fs")
            // Native st_blksize is 4096; mke2fs would take 1024 for a small image.
            .args(["-q", "-t", "ext4", "-b", "4096", "-E", "root_owner=0:0", "-d"])
            .arg(tree)
            .arg(image)
            .arg(format!("{}M", used + used / 4 + 64)),
    );
}

impl Suite {
    /// The runner's list for these programs: NAME SECONDS ARGS.
    pub(crate) fn list(programs: &[Program]) -> String {
        programs.iter().map(|p| format!("{} {} {}\n", p.name, p.seconds, p.args)).collect()
    }
}
