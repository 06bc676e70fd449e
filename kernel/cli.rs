//! The command line of Umbra itself.
//!
//! `umbra KEY=VALUE... [-- ARGS]` boots as a machine would, `umbra run [KEY=VALUE]... IMAGE [-- CMD ARG...]`
//! runs one command in an image. Options begin with dashes and are few.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::config::{
    Config, ConfigError, DiskAccess, DiskConfig, PARAMETERS, RunConfig, looks_like_parameter,
};
use crate::suggest::nearest;
use crate::syscall::table::{Level, TABLE};

/// What the command line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// `--syscalls`.
    Syscalls,
    /// Boot.
    Boot(Box<Config>),
}

fn text(word: OsString) -> Result<String, ConfigError> {
    word.into_string().map_err(|w| format!("`{}` is not UTF-8", w.display()))
}

/// Reads the arguments (without the program's name).
///
/// # Errors
/// One line for the user.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ConfigError> {
    let mut own: Vec<OsString> = args.into_iter().collect();
    let all = own.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let rest: Vec<Vec<u8>> = match own.iter().position(|a| a == "--") {
        Some(i) => own.split_off(i).into_iter().skip(1).map(OsString::into_vec).collect(),
        None => Vec::new(),
    };
    let mut words = Vec::new();
    let mut parser = lexopt::Parser::from_args(own);
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => return Ok(Command::Help),
            lexopt::Arg::Long("version") | lexopt::Arg::Short('V') => return Ok(Command::Version),
            lexopt::Arg::Long("syscalls") => return Ok(Command::Syscalls),
            lexopt::Arg::Value(word) => words.push(text(word)?),
            lexopt::Arg::Long(name) => {
                let hint = nearest(name, ["help", "version", "syscalls"])
                    .map_or_else(String::new, |n| format!("; did you mean `--{n}`?"));
                return Err(format!("unknown option `--{name}`{hint}"));
            }
            lexopt::Arg::Short(c) => return Err(format!("unknown option `-{c}`")),
        }
    }
    if words.is_empty() && rest.is_empty() {
        return Err("nothing to boot; `umbra --help` shows how".into());
    }
    let mut config = Config { cmdline: all, ..Config::default() };
    if words.first().is_some_and(|w| w == "run") {
        run(&mut config, &words[1..], rest)?;
    } else {
        for w in &words {
            if !looks_like_parameter(w) && std::path::Path::new(w).is_file() {
                return Err(format!(
                    "`{w}` is a file: `umbra run {w}` runs an image, `umbra ubd0={w}` boots it"
                ));
            }
            if nearest(w, ["run"]).is_some() {
                return Err(format!("unknown parameter `{w}`; did you mean `run`?"));
            }
            config.set(w)?;
        }
        config.init_args = rest;
    }
    config.check()?;
    Ok(Command::Boot(Box::new(config)))
}

fn run(config: &mut Config, words: &[String], command: Vec<Vec<u8>>) -> Result<(), ConfigError> {
    let mut image = None;
    for w in words {
        if looks_like_parameter(w) {
            config.set(w)?;
        } else if let Some(first) = &image {
            return Err(format!(
                "run: `{w}` after the image `{first}`: put `--` before the command"
            ));
        } else {
            image = Some(w.clone());
        }
    }
    let image =
        image.ok_or("run: the image is missing: umbra run [KEY=VALUE]... IMAGE [-- CMD ARG...]")?;
    if config.init.is_some() || config.initrd.is_some() || config.root.is_some() {
        return Err("run: init=, initrd= and root= are for booting without `run`".into());
    }
    if config.disks.iter().any(|d| d.index == 0) {
        return Err("run: ubd0 is the image".into());
    }
    let access = match config.root_rw {
        Some(true) => DiskAccess::ReadWrite,
        Some(false) => DiskAccess::ReadOnly,
        None => DiskAccess::Cow,
    };
    config.disks.push(DiskConfig { index: 0, path: image.into(), access });
    config.root_rw.get_or_insert(true);
    config.run = Some(RunConfig { command });
    Ok(())
}

/// `--help`.
pub fn help() -> String {
    let mut s = String::from(
        "Umbra: a Linux-compatible kernel as one ordinary process.\n\n\
         umbra [KEY=VALUE | FLAG]... [-- INIT-ARG...]           boot, as a machine would\n\
         umbra run [KEY=VALUE]... IMAGE [-- CMD ARG...]         run a command (a shell) in an image;\n\
         \x20                                                      changes are thrown away without `rw`\n\
         umbra --help | --version | --syscalls\n\n\
         Parameters (defaults in brackets):\n",
    );
    for (name, value, what) in PARAMETERS {
        let left = if value.is_empty() { (*name).to_owned() } else { format!("{name}={value}") };
        s.push_str(&format!("  {left:<24}{what}\n"));
    }
    s.push_str(
        "\nThe exit status is that of the first program (128 + N for signal N), 1 if the system could not \
         be booted,\n2 for a wrong command line, 134 after a kernel panic. RUST_LOG chooses messages, as \
         in `RUST_LOG=debug`.\n",
    );
    s
}

/// `--version`.
pub fn version() -> String {
    format!("umbra {} (Linux {})\n", env!("CARGO_PKG_VERSION"), crate::RELEASE)
}

/// `--syscalls`.
pub fn syscalls() -> String {
    let mut rows: Vec<_> = TABLE.iter().collect();
    rows.sort_by_key(|e| e.nr);
    let count = |l| rows.iter().filter(|e| e.level == l).count();
    let mut s = format!(
        "{} system calls: {} full, {} partial, {} missing\n",
        rows.len(),
        count(Level::Full),
        count(Level::Partial),
        count(Level::Missing)
    );
    for e in rows {
        let level = match e.level {
            Level::Full => "full",
            Level::Partial => "partial",
            Level::Missing => "missing",
        };
        s.push_str(format!("{:4} {:<24} {level:<8} {}", e.nr, e.name, e.note).trim_end());
        s.push('\n');
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }
    fn boot(line: &str) -> Config {
        match p(line) {
            Ok(Command::Boot(c)) => *c,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options() {
        assert_eq!(p("--help"), Ok(Command::Help));
        assert_eq!(p("mem=64M --version"), Ok(Command::Version));
        assert_eq!(p("--syscalls"), Ok(Command::Syscalls));
        assert!(p("--syscall").unwrap_err().contains("did you mean `--syscalls`"));
        assert!(p("-x").is_err());
        assert!(p("").is_err());
    }

    #[test]
    fn machine() {
        let c = boot("mem=64M ubd0=x.img init=/bin/sh -- -c exit --help");
        assert_eq!(c.init_args, [b"-c".to_vec(), b"exit".to_vec(), b"--help".to_vec()]);
        assert_eq!(c.cmdline, "mem=64M ubd0=x.img init=/bin/sh -- -c exit --help");
        assert_eq!((c.run, c.disks[0].access), (None, DiskAccess::Auto));
    }

    #[test]
    fn commands() {
        let c = boot("run mem=64M x.img -- ls -l");
        assert_eq!(c.run.unwrap().command, [b"ls".to_vec(), b"-l".to_vec()]);
        assert_eq!((c.disks[0].access, c.root_rw), (DiskAccess::Cow, Some(true)));
        assert_eq!(boot("run rw x.img").disks[0].access, DiskAccess::ReadWrite);
        assert_eq!(boot("run ro x.img").disks[0].access, DiskAccess::ReadOnly);
        assert_eq!(boot("run x.img quiet").console_level(), 4);
        for (line, part) in [
            ("run", "image is missing"),
            ("run x.img ls", "put `--` before"),
            ("run init=/bin/sh x.img", "without `run`"),
            ("run mme=1G x.img", "did you mean `mem`"),
            ("rum x.img", "did you mean `run`"),
            ("frob", "unknown parameter `frob`"),
        ] {
            let e = p(line).expect_err(line);
            assert!(e.contains(part), "{line}: {e}");
        }
    }

    #[test]
    fn texts() {
        assert!(help().contains("ubdN=FILE"));
        assert!(syscalls().lines().count() > 200);
        assert!(version().starts_with("umbra "));
    }
}
