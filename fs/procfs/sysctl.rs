//! /proc/sys: the directory tree of [`SYSCTLS`], reading and writing.
//!
//! A variable belongs to the kernel if `ProcSource::sysctl` knows it (the host name, pid_max); else its
//! value is kept here and has no effect but being read back. The table says of what form a value is; what
//! does not fit is EINVAL before the kernel sees it.

use base::{Errno, Error, Result, err};

use super::ProcFs;
use super::node::Node;
use super::sysctl_table::{Form, SYSCTLS, Sysctl};

/// The variable or directory `name` below `prefix` (which is empty or ends in a slash).
pub(crate) fn lookup(prefix: &'static str, name: &[u8]) -> Option<(Node, u32)> {
    let (_, node) = children(prefix).find(|c| c.0.as_bytes() == name)?;
    let mode = if let Node::Sys(s) = node { s.mode } else { 0o555 };
    Some((node, mode))
}

/// The names below `prefix`, in order.
pub(crate) fn children(prefix: &'static str) -> impl Iterator<Item = (&'static str, Node)> {
    let mut last = "";
    SYSCTLS.iter().filter_map(move |s| {
        let rest = s.path.strip_prefix(prefix)?;
        let Some((dir, _)) = rest.split_once('/') else { return Some((rest, Node::Sys(s))) };
        if dir == last {
            return None; // the table is sorted: a directory's variables stand together
        }
        last = dir;
        Some((dir, Node::SysDir(&s.path[..=prefix.len() + dir.len()])))
    })
}

fn find(path: &str) -> Option<&'static Sysctl> {
    SYSCTLS.binary_search_by(|s| s.path.cmp(path)).ok().map(|i| &SYSCTLS[i])
}

fn uuid(mut b: [u8; 16]) -> String {
    b[6] = b[6] & 0x0f | 0x40; // version 4: random
    b[8] = b[8] & 0x3f | 0x80;
    let hex = |r: &[u8]| r.iter().map(|x| format!("{x:02x}")).collect::<String>();
    format!(
        "{}-{}-{}-{}-{}",
        hex(&b[..4]),
        hex(&b[4..6]),
        hex(&b[6..8]),
        hex(&b[8..10]),
        hex(&b[10..])
    )
}

fn new_uuid(fs: &ProcFs) -> String {
    let mut b = [0; 16];
    fs.source().random(&mut b);
    uuid(b)
}

/// Values that come from the state of the system.
fn computed(fs: &ProcFs, path: &str) -> Option<String> {
    Some(match path {
        "kernel/ostype" => fs.source().system().ostype,
        "kernel/osrelease" => fs.source().system().release,
        "kernel/version" => fs.source().system().version,
        "kernel/ns_last_pid" => fs.source().system().last_pid.to_string(),
        "fs/file-nr" => {
            let [used, max] = fs.source().system().files;
            format!("{used}\t0\t{max}")
        }
        "fs/inode-nr" => format!("{}\t0", fs.source().system().inodes),
        "fs/inode-state" => format!("{}\t0\t0\t0\t0\t0\t0", fs.source().system().inodes),
        "fs/dentry-state" => {
            let [all, unused] = fs.source().system().dentries;
            format!("{all}\t{unused}\t45\t0\t0\t0")
        }
        _ => return None,
    })
}

fn value(fs: &ProcFs, s: &'static Sysctl) -> String {
    if s.form == Form::Uuid {
        return new_uuid(fs);
    }
    if let Some(v) = fs.source().sysctl(s.path) {
        return v;
    }
    if let Some(v) = fs.values.lock().get(s.path) {
        return v.clone();
    }
    if let Some(v) = computed(fs, s.path) {
        return v;
    }
    if s.path == "kernel/random/boot_id" {
        let fresh = new_uuid(fs);
        return fs.values.lock().entry(s.path).or_insert(fresh).clone();
    }
    s.default.to_owned()
}

/// The text of the file.
pub(crate) fn read(fs: &ProcFs, s: &'static Sysctl) -> String {
    value(fs, s) + "\n"
}

/// The value by path, without newline.
pub(crate) fn get(fs: &ProcFs, path: &str) -> Option<String> {
    find(path).map(|s| value(fs, s))
}

/// Sets the value by path (dots or slashes between the parts).
pub(crate) fn set(fs: &ProcFs, path: &str, text: &str) -> Result<()> {
    let slashed = path.replace('.', "/");
    match find(path).or_else(|| find(&slashed)) {
        Some(s) => write(fs, s, text.as_bytes()),
        None => err(Errno::ENOENT),
    }
}

/// A number as the kernel takes it: decimal, 0x, or octal with a leading zero.
fn parse_int(s: &str) -> Option<i128> {
    let (sign, digits) = match s.strip_prefix('-') {
        Some(d) => (-1, d),
        None => (1, s),
    };
    let n = if let Some(h) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        i128::from_str_radix(h, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i128::from_str_radix(&digits[1..], 8)
    } else {
        digits.parse()
    };
    n.ok().map(|n| n * sign)
}

/// The value in the form in which it is kept.
fn normal(s: &Sysctl, old: &str, text: &str) -> Result<String> {
    let bad = || Error::new(Errno::EINVAL);
    let (count, min, max) = match s.form {
        Form::Text(limit) => {
            let line = text.split(['\n', '\0']).next().unwrap_or_default();
            let mut end = line.len().min(limit);
            while !line.is_char_boundary(end) {
                end -= 1;
            }
            return Ok(line[..end].to_owned());
        }
        Form::Trigger => return Ok(text.trim().to_owned()),
        Form::Uuid => return err(Errno::EPERM),
        Form::Ints(n, min, max) => (n, i128::from(min), i128::from(max)),
        Form::Unsigned => (1, 0, i128::from(u64::MAX)),
    };
    let mut values: Vec<String> = old.split_whitespace().map(str::to_owned).collect();
    values.resize(count, "0".into());
    let mut seen = 0;
    for (word, slot) in
        text.split([' ', '\t', '\n', '\0']).filter(|w| !w.is_empty()).zip(&mut values)
    {
        let n = parse_int(word).filter(|n| (min..=max).contains(n)).ok_or_else(bad)?;
        *slot = n.to_string();
        seen += 1;
    }
    // Fewer numbers than there are leave the rest as it is.
    if seen == 0 { Err(bad()) } else { Ok(values.join("\t")) }
}

/// A write to the file.
pub(crate) fn write(fs: &ProcFs, s: &'static Sysctl, data: &[u8]) -> Result<()> {
    if s.mode & 0o222 == 0 {
        return err(Errno::EACCES);
    }
    if data.is_empty() {
        return Ok(());
    }
    let text = std::str::from_utf8(data).map_err(|_| Error::new(Errno::EINVAL))?;
    let new = normal(s, &value(fs, s), text)?;
    if fs.source().sysctl(s.path).is_some() || matches!(s.form, Form::Trigger) || s.mode == 0o200 {
        return fs.source().set_sysctl(s.path, &new);
    }
    fs.values.lock().insert(s.path, new);
    Ok(())
}
