//! Kernel parameters: what `umbra KEY=VALUE...` and /proc/cmdline say, as one value.
//!
//! Each parameter is one line of [`PARAMETERS`] and one arm of [`Config::set`]. Every refusal is one line that
//! names the parameter.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arch::shm::Policy;
use base::trace::Category;

use crate::suggest::nearest;

/// What is wrong with the command line: one line for the user.
pub type ConfigError = String;
type Parsed<T> = Result<T, ConfigError>;

/// Smallest `mem=`, bytes.
pub const MIN_MEMORY: u64 = 16 << 20;
/// `mem=` without a word about it.
const DEFAULT_MEMORY: u64 = 512 << 20;

/// All parameters: name (`N` stands for a number), what a value looks like (empty: it is a flag), what it is.
pub const PARAMETERS: &[(&str, &str, &str)] = &[
    ("mem", "SIZE", "guest memory, with K, M or G (512M)"),
    (
        "ubdN",
        "FILE[,ro|,cow]",
        "disk /dev/ubdX: an image; `ro` locks it shared, `cow` throws changes away",
    ),
    ("root", "DEVICE", "root file system: /dev/ubda (the first disk)"),
    ("rootfstype", "TYPE", "its type (ext4)"),
    ("rootflags", "OPTIONS", "its mount options"),
    ("ro", "", "mount the root read-only (the default)"),
    ("rw", "", "mount the root for writing; with `run`: keep changes"),
    ("initrd", "FILE", "cpio archive (newc) that is unpacked into a tmpfs as the root"),
    ("init", "PATH", "the first program (/sbin/init, /etc/init, /bin/init, /bin/sh)"),
    ("quiet", "", "only errors on standard error"),
    ("debug", "", "everything on standard error"),
    ("loglevel", "0..8", "messages of a lower level go to standard error (7; 5 with `run`)"),
    ("panic", "SECONDS", "accepted; a kernel panic always ends with status 134"),
    ("console", "ttyN", "the console behind /dev/console (tty0)"),
    ("conN", "PORT", "console /dev/ttyN: fd:N, fd:IN,fd:OUT, pts or null"),
    ("hostname", "NAME", "the host name (umbra)"),
    ("ncpus", "N", "virtual CPUs (1)"),
    ("backend", "NAME", "the machine: shm, ptrace, auto: shm where the host allows it (auto)"),
    ("handoff", "HOW", "shm: CPU and guest wait by spin, futex, or as the host's load is (auto)"),
    (
        "patch",
        "HOW",
        "shm: call sites of programs become jumps: on, off, from the second or in a long run (auto)",
    ),
    (
        "trace",
        "WHAT[:FILE]",
        "trace points: syscall,sched,fault,signal,block,all, to FILE (.json: for Perfetto)",
    ),
    ("seed", "N", "repeatable random numbers, for tests"),
    ("norandmaps", "", "no address space randomisation"),
    ("lockdown", "on|off", "system call filter of the kernel process itself (on)"),
];

/// `backend=`: the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// Shm where the host allows it, else ptrace.
    Auto,
    /// Shared memory.
    Shm,
    /// ptrace.
    Ptrace,
}

/// A disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskConfig {
    /// `ubdINDEX`.
    pub index: u32,
    /// The image on the host.
    pub path: PathBuf,
    /// How it is used.
    pub access: DiskAccess,
}

/// How a disk is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskAccess {
    /// For writing if the host lets us, else for reading.
    Auto,
    /// For reading; several Umbras may share it.
    ReadOnly,
    /// For writing, or not at all.
    ReadWrite,
    /// For reading, changes in a layer that is thrown away.
    Cow,
}

/// `trace=`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceConfig {
    /// Categories, or-ed.
    pub mask: u32,
    /// Where to; None: standard error.
    pub file: Option<PathBuf>,
}

/// `umbra run`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunConfig {
    /// The command; empty: the image's shell.
    pub command: Vec<Vec<u8>>,
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// `mem=`, bytes.
    pub memory: u64,
    /// `ubdN=`.
    pub disks: Vec<DiskConfig>,
    /// `root=`.
    pub root: Option<String>,
    /// `rootfstype=`.
    pub root_type: Option<String>,
    /// `rootflags=`.
    pub root_flags: String,
    /// `rw` (true), `ro` (false), or neither.
    pub root_rw: Option<bool>,
    /// `initrd=`.
    pub initrd: Option<PathBuf>,
    /// `init=`.
    pub init: Option<String>,
    /// What follows `--`, for init.
    pub init_args: Vec<Vec<u8>>,
    /// `loglevel=`, `quiet`, `debug`.
    pub log_level: Option<u8>,
    /// `console=`: the number of the tty.
    pub console: u32,
    /// `conN=`.
    pub consoles: BTreeMap<u32, String>,
    /// `hostname=`.
    pub hostname: String,
    /// `ncpus=`.
    pub cpus: u32,
    /// `backend=`.
    pub backend: Backend,
    /// `handoff=`.
    pub handoff: Policy,
    /// `patch=`: only where the machine has an entry for it.
    pub patch: Patch,
    /// `trace=`.
    pub trace: Option<TraceConfig>,
    /// `seed=`.
    pub seed: Option<u64>,
    /// Address space randomisation.
    pub randomize: bool,
    /// The kernel process's own filter.
    pub lockdown: bool,
    /// `umbra run`.
    pub run: Option<RunConfig>,
    /// /proc/cmdline.
    pub cmdline: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            memory: DEFAULT_MEMORY,
            disks: Vec::new(),
            root: None,
            root_type: None,
            root_flags: String::new(),
            root_rw: None,
            initrd: None,
            init: None,
            init_args: Vec::new(),
            log_level: None,
            console: 0,
            consoles: BTreeMap::new(),
            hostname: "umbra".into(),
            cpus: 1,
            backend: Backend::Auto,
            handoff: Policy::Auto,
            patch: Patch::Auto,
            trace: None,
            seed: None,
            randomize: true,
            lockdown: true,
            run: None,
            cmdline: String::new(),
        }
    }
}

/// The key without its number, if the parameter takes one: `ubd0` is (`ubdN`, 0).
fn numbered(key: &str) -> (String, Option<u32>) {
    let digits = key.len() - key.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (stem, number) = key.split_at(digits);
    match number.parse() {
        Ok(n) => (format!("{stem}N"), Some(n)),
        Err(_) => (key.to_owned(), None),
    }
}

/// Whether a word of the command line is the name of a parameter, as far as one can tell: something with
/// `=`, or a flag. (An image with `=` in its name is given as `./NAME`.)
pub fn looks_like_parameter(word: &str) -> bool {
    match word.split_once('=') {
        Some((key, _)) => {
            !key.is_empty()
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        }
        None => PARAMETERS.iter().any(|(name, value, _)| value.is_empty() && *name == word),
    }
}

fn unknown(key: &str) -> ConfigError {
    let (stem, number) = numbered(key);
    let names = || PARAMETERS.iter().map(|p| p.0);
    let hint = match nearest(&stem, names()) {
        Some(near) => {
            let n = number.unwrap_or(0).to_string();
            format!("; did you mean `{}`?", near.replace('N', &n))
        }
        None => "; `umbra --help` lists them".to_owned(),
    };
    format!("unknown parameter `{key}`{hint}")
}

/// `512M` in bytes. K, M, G and T are powers of 1024.
fn size(key: &str, value: &str) -> Parsed<u64> {
    let bad = || format!("{key}={value}: expected a size such as 512M or 2G");
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(bad()),
    };
    let n: u64 = number.parse().map_err(|_| bad())?;
    n.checked_mul(1 << shift).ok_or_else(|| format!("{key}={value}: that is too much"))
}

fn number<T: std::str::FromStr>(key: &str, value: &str, what: &str) -> Parsed<T> {
    value.parse().map_err(|_| format!("{key}={value}: expected {what}"))
}

/// `patch=`: whether system call sites of programs are rewritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Patch {
    /// When a program or library is mapped for the second time, or a process makes many calls from it.
    #[default]
    Auto,
    /// When it is mapped for the first time.
    On,
    /// Never.
    Off,
}

/// One of several words, each with what it stands for.
fn one_of<T: Copy>(key: &str, value: &str, words: &[(&str, T)]) -> Parsed<T> {
    if let Some((_, meaning)) = words.iter().find(|(w, _)| *w == value) {
        return Ok(*meaning);
    }
    let mut expected = String::new();
    for (i, (word, _)) in words.iter().enumerate() {
        expected.push_str(match i {
            0 => "",
            _ if i + 1 == words.len() => " or ",
            _ => ", ",
        });
        expected.push_str(word);
    }
    Err(format!("{key}={value}: expected {expected}"))
}

fn absolute(key: &str, value: &str) -> Parsed<String> {
    if value.starts_with('/') {
        Ok(value.to_owned())
    } else {
        Err(format!("{key}={value}: expected an absolute path of the guest"))
    }
}

/// `syscall,sched:FILE`.
fn trace(value: &str) -> Parsed<TraceConfig> {
    const WORDS: &[(&str, u32)] = &[
        ("syscall", Category::Syscall as u32),
        ("sched", Category::Sched as u32),
        ("fault", Category::Fault as u32),
        ("signal", Category::Signal as u32),
        ("block", Category::Block as u32),
        ("net", Category::Net as u32),
        ("all", u32::MAX),
    ];
    let (what, file) = match value.split_once(':') {
        Some((_, "")) => {
            return Err(format!("trace={value}: the file's name is missing after `:`"));
        }
        Some((what, file)) => (what, Some(PathBuf::from(file))),
        None => (value, None),
    };
    let mut mask = 0;
    for word in what.split(',') {
        match WORDS.iter().find(|w| w.0 == word) {
            Some((_, bits)) => mask |= bits,
            None => {
                let hint = nearest(word, WORDS.iter().map(|w| w.0))
                    .map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
                let all: Vec<&str> = WORDS.iter().map(|w| w.0).collect();
                return Err(format!("trace=: `{word}` is none of {}{hint}", all.join(", ")));
            }
        }
    }
    Ok(TraceConfig { mask, file })
}

impl Config {
    /// Takes one `KEY=VALUE` or flag.
    ///
    /// # Errors
    /// One line that names the parameter.
    pub fn set(&mut self, word: &str) -> Parsed<()> {
        let (key, value) = match word.split_once('=') {
            Some((k, v)) => (k, Some(v)),
            None => (word, None),
        };
        let (stem, n) = numbered(key);
        let Some((_, shape, _)) = PARAMETERS.iter().find(|p| p.0 == stem) else {
            return Err(unknown(key));
        };
        let v = match (shape.is_empty(), value) {
            (true, None) => "",
            (true, Some(_)) => return Err(format!("{key} is a flag: it takes no value")),
            (false, None | Some("")) => {
                return Err(format!("{key}: a value is missing: {key}={shape}"));
            }
            (false, Some(v)) => v,
        };
        match stem.as_str() {
            "mem" => self.memory = memory(key, v)?,
            "ubdN" => self.disk(key, n.unwrap_or(0), v)?,
            "root" => self.root = Some(v.to_owned()),
            "rootfstype" => self.root_type = Some(v.to_owned()),
            "rootflags" => v.clone_into(&mut self.root_flags),
            "ro" => self.root_rw = Some(false),
            "rw" => self.root_rw = Some(true),
            "initrd" => self.initrd = Some(v.into()),
            "init" => self.init = Some(absolute(key, v)?),
            "quiet" => self.log_level = Some(4),
            "debug" => self.log_level = Some(8),
            "loglevel" => {
                let l: u8 = number(key, v, "a number from 0 to 8")?;
                if l > 8 {
                    return Err(format!("{key}={v}: expected a number from 0 to 8"));
                }
                self.log_level = Some(l);
            }
            "panic" => {
                number::<i64>(key, v, "a number of seconds")?;
            }
            "console" => self.console = console(key, v)?,
            "conN" => {
                let n = n.unwrap_or(0);
                if n > 63 {
                    return Err(format!("{key}: there are consoles con0 to con63"));
                }
                self.consoles.insert(n, v.to_owned());
            }
            "hostname" => {
                if v.len() > 64 {
                    return Err(format!("{key}={v}: at most 64 bytes"));
                }
                v.clone_into(&mut self.hostname);
            }
            "ncpus" => {
                self.cpus = number(key, v, "a number of virtual CPUs")?;
                if self.cpus != 1 {
                    return Err(format!("{key}={v}: the machine has one virtual CPU: ncpus=1"));
                }
            }
            "backend" => {
                let words =
                    [("shm", Backend::Shm), ("ptrace", Backend::Ptrace), ("auto", Backend::Auto)];
                self.backend = one_of(key, v, &words)?;
            }
            "handoff" => {
                let words =
                    [("spin", Policy::Spin), ("futex", Policy::Futex), ("auto", Policy::Auto)];
                self.handoff = one_of(key, v, &words)?;
            }
            "trace" => self.trace = Some(trace(v)?),
            "seed" => self.seed = Some(number(key, v, "a number")?),
            "norandmaps" => self.randomize = false,
            "lockdown" => self.lockdown = one_of(key, v, &[("on", true), ("off", false)])?,
            "patch" => {
                let words = [("on", Patch::On), ("off", Patch::Off), ("auto", Patch::Auto)];
                self.patch = one_of(key, v, &words)?;
            }
            _ => return Err(unknown(key)),
        }
        Ok(())
    }

    fn disk(&mut self, key: &str, index: u32, value: &str) -> Parsed<()> {
        if index > 25 {
            return Err(format!("{key}: there are disks ubd0 to ubd25"));
        }
        if self.disks.iter().any(|d| d.index == index) {
            return Err(format!("{key} is given twice"));
        }
        let (path, access) = match value.rsplit_once(',') {
            Some((p, "ro")) => (p, DiskAccess::ReadOnly),
            Some((p, "cow")) => (p, DiskAccess::Cow),
            Some((p, "rw")) => (p, DiskAccess::ReadWrite),
            _ => (value, DiskAccess::Auto),
        };
        if path.is_empty() {
            return Err(format!("{key}={value}: the image's name is missing"));
        }
        self.disks.push(DiskConfig { index, path: path.into(), access });
        Ok(())
    }

    /// What can only be judged when everything is known.
    ///
    /// # Errors
    /// One line.
    pub fn check(&mut self) -> Parsed<()> {
        self.disks.sort_by_key(|d| d.index);
        if self.root.is_none() && self.initrd.is_none() && self.disks.is_empty() {
            return Err(
                "no root file system: give ubd0=IMAGE or initrd=FILE, or see `umbra --help`".into(),
            );
        }
        if self.console != 0 && !self.consoles.contains_key(&self.console) {
            let n = self.console;
            return Err(format!("console=tty{n}: there is no con{n}="));
        }
        Ok(())
    }

    /// Messages of a lower level than this go to standard error.
    pub fn console_level(&self) -> u8 {
        self.log_level.unwrap_or(if self.run.is_some() { 5 } else { 7 })
    }
}

fn memory(key: &str, value: &str) -> Parsed<u64> {
    let bytes = size(key, value)?;
    if bytes < MIN_MEMORY {
        return Err(format!("{key}={value}: too small; at least {}M", MIN_MEMORY >> 20));
    }
    Ok(bytes)
}

fn console(key: &str, value: &str) -> Parsed<u32> {
    // `ttyN,OPTIONS` as on Linux: a speed means nothing here.
    let name = value.split(',').next().unwrap_or(value);
    let n =
        name.strip_prefix("tty").and_then(|n| if n.is_empty() { Some(0) } else { n.parse().ok() });
    n.filter(|n| *n < 64).ok_or_else(|| format!("{key}={value}: expected tty0 to tty63"))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
