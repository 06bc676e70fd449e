//! Tests of procfs over a made-up kernel: formats against literal lines, links, permissions, variables.

use std::sync::{Arc, Mutex, OnceLock};

use arch::Prot;
use base::iobuf::{SliceSource, VecSink};
use base::{Cred, Errno, PollEvents, Result, UserAddr};
use drivers::{BlockRegistry, DevNum, RamDisk};

use super::*;
use crate::event_tests::test_vfs;
use crate::file::{File, FileOps, OpenFlags};
use crate::inode::{FileType, Inode};
use crate::mount::{MountFlags, MountNamespace};
use crate::path::{FsContext, Path};
use crate::vfs::Vfs;

const ARGS: &[u8] = b"cat\0/etc/passwd\0";

struct Fake {
    vfs: Arc<Vfs>,
    ctx: OnceLock<Arc<FsContext>>,
    file: OnceLock<Arc<File>>,
    disks: Arc<BlockRegistry>,
    hostname: Mutex<String>,
    set: Mutex<Vec<TaskSetting>>,
    locked_out: bool,
}

fn task(pid: u32, tid: u32) -> TaskInfo {
    let layout = mm::Layout {
        start_code: UserAddr(0x40_0000),
        end_code: UserAddr(0x40_5000),
        arg_start: UserAddr(0x1000),
        arg_end: UserAddr(0x1000 + ARGS.len() as u64),
        auxv: vec![6, 0, 0, 0],
        ..mm::Layout::default()
    };
    let usage = mm::Usage {
        vsize: 765,
        rss: 435,
        rss_anon: 28,
        rss_file: 407,
        data: 57,
        stack: 33,
        text: 387,
        peak_rss: 500,
        page_tables: 13,
        ..mm::Usage::default()
    };
    let mut rlimits = [(u64::MAX, u64::MAX); 16];
    rlimits[3].0 = 8 << 20;
    rlimits[11] = (1000, 1000);
    rlimits[13] = (0, 0);
    TaskInfo {
        tid,
        tgid: pid,
        ppid: 1,
        pgid: pid,
        sid: 5,
        tty: 34816,
        tpgid: 7,
        comm: b"a (b)".to_vec(),
        state: TaskState::Sleeping,
        flags: 0x40_0000,
        cred: Some(Arc::new(Cred { uid: 1000, euid: 1001, ..Cred::root() })),
        dumpable: true,
        utime: 1_230_000_000,
        stime: 50_000_000,
        priority: 20,
        threads: 2,
        start_time: 3_000_000_000,
        usage: Some(usage),
        layout: Some(layout),
        exit_signal: 17,
        umask: Some(0o22),
        fd_size: 64,
        cpus_allowed: 0b1101,
        rlimits,
        loginuid: u32::MAX,
        sig_caught: 2,
        ..TaskInfo::default()
    }
}

impl ProcSource for Fake {
    fn pids(&self) -> Vec<u32> {
        vec![1, 42]
    }
    fn threads(&self, pid: u32) -> Vec<u32> {
        vec![pid, 43]
    }
    fn task(&self, pid: u32, tid: u32) -> Option<TaskInfo> {
        (self.pids().contains(&pid) && (tid == pid || tid == 43)).then(|| task(pid, tid))
    }
    fn current_pid(&self) -> u32 {
        42
    }
    fn current_tid(&self) -> u32 {
        43
    }
    fn current_cred(&self) -> Arc<Cred> {
        Arc::new(Cred::root())
    }
    fn may_access(&self, _pid: u32, _attach: bool) -> bool {
        !self.locked_out
    }
    fn mm(&self, _pid: u32) -> Option<Arc<mm::AddressSpace>> {
        None
    }
    fn maps(&self, _pid: u32, _detailed: bool) -> Option<Vec<mm::VmaInfo>> {
        let v = |start: u64, end: u64, prot, path: &str| mm::VmaInfo {
            start: UserAddr(start),
            end: UserAddr(end),
            prot,
            max_prot: Prot::all(),
            shared: false,
            offset: 0x2000,
            name: mm::ObjectName {
                path: path.into(),
                dev: DevNum::new(254, 0).to_user(),
                ino: 247_030,
            },
            file: path.starts_with('/'),
            locked: false,
            growsdown: false,
            noreserve: false,
            dontfork: false,
            wipeonfork: false,
            dontdump: false,
            rss: 5,
            anon: 1,
        };
        Some(vec![
            v(0x5604_9e4b_7000, 0x5604_9e4b_c000, Prot::READ | Prot::EXEC, "/usr/bin/cat"),
            v(0x7000_0000_0000, 0x7000_0000_1000, Prot::READ | Prot::WRITE, ""),
        ])
    }
    fn read_mem(&self, _pid: u32, addr: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        let at = addr.checked_sub(0x1000)? as usize;
        let from = ARGS.get(at..).unwrap_or_default();
        let n = from.len().min(buf.len());
        buf[..n].copy_from_slice(&from[..n]);
        Some(if n == 0 { base::err(Errno::EIO) } else { Ok(n) })
    }
    fn write_mem(&self, _pid: u32, _addr: u64, data: &[u8]) -> Option<Result<usize>> {
        Some(Ok(data.len()))
    }
    fn fds(&self, _pid: u32, _tid: u32) -> Vec<u32> {
        vec![0, 255]
    }
    fn file(&self, _pid: u32, _tid: u32, fd: u32) -> Option<(Arc<File>, bool)> {
        (fd == 0 || fd == 255).then(|| (self.file.get().unwrap().clone(), fd == 255))
    }
    fn fs_context(&self, _pid: u32, _tid: u32) -> Option<Arc<FsContext>> {
        self.ctx.get().cloned()
    }
    fn exe(&self, _pid: u32) -> Option<Path> {
        None
    }
    fn set(&self, _pid: u32, _tid: u32, setting: TaskSetting) -> Result<()> {
        self.set.lock().unwrap().push(setting);
        Ok(())
    }
    fn system(&self) -> SystemInfo {
        SystemInfo {
            uptime: 2_184_890_000_000,
            idle: 3_891_190_000_000,
            loadavg: [0.44, 0.42, 0.294],
            running: 2,
            tasks: 104,
            last_pid: 28835,
            cpus: vec![[10_000_000; 10], [20_000_000; 10]],
            cmdline: "mem=512M".into(),
            ostype: "Linux".into(),
            release: "6.12.0-umbra".into(),
            version: "#1".into(),
            builder: "(umbra)".into(),
            files: [100, 1000],
            ..SystemInfo::default()
        }
    }
    fn memory(&self) -> mm::MemStats {
        mm::MemStats { total: 131_072, free: 1000, cached: 20, shmem: 5, ..mm::MemStats::default() }
    }
    fn disks(&self) -> Option<Arc<BlockRegistry>> {
        Some(self.disks.clone())
    }
    fn table(&self, _table: Table<'_>) -> Option<String> {
        None
    }
    fn open_kmsg(&self) -> Result<Arc<dyn FileOps>> {
        base::err(Errno::EPERM)
    }
    fn sysctl(&self, name: &str) -> Option<String> {
        (name == "kernel/hostname").then(|| self.hostname.lock().unwrap().clone())
    }
    fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        assert_eq!(name, "kernel/hostname");
        *self.hostname.lock().unwrap() = value.into();
        Ok(())
    }
    fn random(&self, buf: &mut [u8]) {
        buf.fill(0xff);
    }
}

struct World {
    fake: Arc<Fake>,
    fs: Arc<ProcFs>,
}

fn world(locked_out: bool) -> World {
    let vfs = test_vfs();
    let disks = Arc::new(BlockRegistry::new());
    disks.register_ubd(0, Arc::new(RamDisk::new(vec![0; 1 << 20], false, None))).unwrap();
    let fake = Arc::new(Fake {
        vfs: vfs.clone(),
        ctx: OnceLock::new(),
        file: OnceLock::new(),
        disks,
        hostname: Mutex::new("box".into()),
        set: Mutex::default(),
        locked_out,
    });
    let fs = ProcFs::new(fake.clone(), DevNum::new(0, 21));
    let root = vfs.mount_fs(fs.clone(), MountFlags::RELATIME, b"pr oc");
    let ns = MountNamespace::new(vfs.clone(), root);
    let _ = fake.ctx.set(FsContext::new(ns));
    let (r, _w) = crate::pipe::pipe(&vfs, &Arc::new(Cred::root()), OpenFlags::empty()).unwrap();
    let _ = fake.file.set(r);
    World { fake, fs }
}

impl World {
    fn inode(&self, path: &str) -> Result<Arc<Inode>> {
        let mut here = self.fs.root();
        for part in path.split('/').filter(|p| !p.is_empty()) {
            here = here.ops.lookup(part.as_bytes())?;
        }
        Ok(here)
    }
    fn open(&self, path: &str, flags: OpenFlags) -> Result<Arc<File>> {
        let inode = self.inode(path)?;
        let ops = inode.ops.open(&inode, flags)?.unwrap();
        let cred = Arc::new(Cred::root());
        Ok(self.fake.vfs.anon().file(ops, flags, cred, FileType::Regular, 0))
    }
    fn read(&self, path: &str) -> String {
        let f = self.open(path, OpenFlags::empty()).unwrap();
        let mut out = Vec::new();
        loop {
            // Small pieces: the text must not change between them.
            let mut sink = VecSink::new(96);
            f.ops.read(&f, out.len() as u64, &mut sink).unwrap();
            if sink.data.is_empty() {
                return String::from_utf8(out).unwrap();
            }
            out.extend(sink.data);
        }
    }
    fn write(&self, path: &str, text: &str) -> Result<usize> {
        let f = self.open(path, OpenFlags::WRONLY)?;
        f.ops.write(&f, 0, &mut SliceSource(text.as_bytes()))
    }
    fn list(&self, path: &str) -> Vec<String> {
        let dir = self.inode(path).unwrap();
        let mut names = Vec::new();
        let mut pos = 0;
        // One at a time, so that positions are tested, too.
        loop {
            let mut got = None;
            dir.ops
                .read_dir(pos, &mut |e| {
                    if got.is_some() {
                        return false;
                    }
                    got = Some((String::from_utf8(e.name.to_vec()).unwrap(), e.next, e.ino));
                    true
                })
                .unwrap();
            let Some((name, next, ino)) = got else { return names };
            if name != "." && name != ".." {
                assert_eq!(dir.ops.lookup(name.as_bytes()).unwrap().ino, ino, "{name}");
            }
            names.push(name);
            pos = next;
        }
    }
    fn link(&self, path: &str) -> String {
        String::from_utf8(self.inode(path).unwrap().ops.read_link().unwrap()).unwrap()
    }
}

#[test]
fn stat_has_52_fields() {
    let w = world(false);
    let text = w.read("42/stat");
    assert_eq!(
        text,
        "42 (a (b)) S 1 42 5 34816 7 4194304 0 0 0 0 123 5 0 0 20 0 2 0 300 3133440 435 \
         18446744073709551615 4194304 4214784 0 0 0 0 0 0 2 0 0 0 17 0 0 0 0 0 0 0 0 0 4096 4112 \
         0 0 0\n"
    );
    let rest = text.rsplit_once(')').unwrap().1;
    assert_eq!(rest.split_whitespace().count() + 2, 52);
    assert!(w.read("42/task/43/stat").starts_with("43 (a (b)) S "));
    assert_eq!(w.read("42/statm"), "765 435 407 387 0 90 0\n");
    // Others do not see addresses.
    assert!(world(true).read("42/stat").contains(" 435 18446744073709551615 1 1 0 0 0 "));
}

#[test]
fn status_lines() {
    let w = world(false);
    let s = w.read("42/status");
    for line in [
        "Name:\ta (b)",
        "Umask:\t0022",
        "State:\tS (sleeping)",
        "Tgid:\t42",
        "PPid:\t1",
        "Uid:\t1000\t1001\t0\t0",
        "FDSize:\t64",
        "Groups:\t ",
        "VmPeak:\t    3060 kB",
        "VmHWM:\t    2000 kB",
        "VmRSS:\t    1740 kB",
        "RssFile:\t    1628 kB",
        "VmExe:\t      20 kB",
        "VmLib:\t    1528 kB",
        "VmPTE:\t      52 kB",
        "Threads:\t2",
        "SigQ:\t0/1000",
        "SigCgt:\t0000000000000002",
        "CapEff:\t000001ffffffffff",
        "Cpus_allowed:\td",
        "Cpus_allowed_list:\t0,2-3",
        "voluntary_ctxt_switches:\t0",
    ] {
        assert!(s.lines().any(|l| l == line), "{line:?} in\n{s}");
    }
    // The same names in the same order as the host's kernel has them (but for what it has more).
    let Ok(host) = std::fs::read_to_string("/proc/self/status") else { return };
    let name = |l: &str| l.split(':').next().unwrap().to_owned();
    let host: Vec<_> = host.lines().map(name).collect();
    let places: Vec<_> =
        s.lines().map(name).filter_map(|n| host.iter().position(|h| *h == n)).collect();
    assert!(places.is_sorted());
}

#[test]
fn limits_as_linux_prints_them() {
    let w = world(false);
    let text = w.read("42/limits");
    let mut lines = text.lines();
    assert_eq!(
        lines.next().unwrap(),
        "Limit                     Soft Limit           Hard Limit           Units     "
    );
    assert_eq!(
        lines.nth(3).unwrap(),
        "Max stack size            8388608              unlimited            bytes     "
    );
    assert_eq!(
        lines.nth(9).unwrap(),
        "Max nice priority         0                    0                    "
    );
}

#[test]
fn maps_and_smaps() {
    let w = world(false);
    assert_eq!(
        w.read("42/maps"),
        "56049e4b7000-56049e4bc000 r-xp 00002000 fe:00 247030                     /usr/bin/cat\n\
         700000000000-700000001000 rw-p 00002000 fe:00 247030 \n"
    );
    let s = w.read("42/smaps");
    assert!(s.contains("\nSize:                 20 kB\nKernelPageSize:        4 kB\n"), "{s}");
    assert!(s.contains("\nRss:                  20 kB\n"));
    assert!(s.contains("\nVmFlags: rd ex mr mw me \n"));
    assert!(w.read("42/smaps_rollup").contains(
        "---p 00000000 00:00 0                          [rollup]\nRss:                  40 kB\n"
    ));
    assert_eq!(w.list("42/map_files"), [".", "..", "56049e4b7000-56049e4bc000"]);
    assert_eq!(w.link("42/map_files/56049e4b7000-56049e4bc000"), "/usr/bin/cat");
    let locked = world(true);
    let e = locked.open("42/maps", OpenFlags::empty()).unwrap_err();
    assert_eq!(e.errno(), Errno::EACCES);
    assert_eq!(locked.list("42/fd"), [".", ".."]);
}

#[test]
fn arguments_and_memory() {
    let w = world(false);
    assert_eq!(w.read("42/cmdline").as_bytes(), ARGS);
    assert_eq!(w.read("42/auxv").as_bytes(), [6, 0, 0, 0]);
    let f = w.open("42/mem", OpenFlags::RDWR).unwrap();
    let mut sink = VecSink::new(3);
    assert_eq!(f.ops.read(&f, 0x1000, &mut sink).unwrap(), 3);
    assert_eq!(sink.data, b"cat");
    let e = f.ops.read(&f, 0x9000, &mut VecSink::new(3)).unwrap_err();
    assert_eq!(e.errno(), Errno::EIO);
    assert_eq!(f.ops.write(&f, 0x1000, &mut SliceSource(b"dog")).unwrap(), 3);
}

#[test]
fn directories_and_links() {
    let w = world(false);
    let all = w.list("");
    assert_eq!(all[all.len() - 2..], ["1", "42"]);
    for name in ["self", "meminfo", "stat", "sys", "sysvipc", "net", "mounts"] {
        assert!(all.iter().any(|n| n == name), "{name}");
    }
    assert_eq!(w.link("self"), "42");
    assert_eq!(w.link("thread-self"), "42/task/43");
    assert_eq!(w.link("mounts"), "self/mounts");
    assert_eq!(w.list("42/task"), [".", "..", "42", "43"]);
    assert_eq!(w.list("42/fd"), [".", "..", "0", "255"]);
    assert!(w.link("42/fd/0").starts_with("pipe:["));
    let fd = w.inode("42/fd/0").unwrap();
    assert!(fd.ops.follow_magic().unwrap().is_some());
    assert_eq!(fd.ops.attr().unwrap().perm, 0o500);
    assert_eq!(w.link("42/cwd"), "/");
    assert_eq!(w.link("42/ns/pid"), "pid:[4026531836]");
    assert_eq!(w.link("42/ns/pid_for_children"), "pid:[4026531836]");
    let info = w.read("42/fdinfo/255");
    assert!(info.starts_with("pos:\t0\nflags:\t02100000\nmnt_id:\t"), "{info}");
    assert_eq!(w.inode("77").unwrap_err().errno(), Errno::ENOENT);
    assert_eq!(w.inode("042").unwrap_err().errno(), Errno::ENOENT);
    assert_eq!(w.inode("42/exe").unwrap().ops.read_link().unwrap_err().errno(), Errno::ENOENT);
    let a = w.inode("42/stat").unwrap().ops.attr().unwrap();
    assert_eq!((a.uid, a.gid, a.perm, a.size), (1001, 0, 0o444, 0));
}

#[test]
fn every_file_can_be_read() {
    let w = world(false);
    let mut todo = vec![String::new()];
    let mut files = 0;
    while let Some(dir) = todo.pop() {
        for name in w.list(&dir) {
            let path = format!("{dir}/{name}");
            // attr/* fails without a security module, kmsg is a device.
            if name.starts_with('.') || path.contains("/attr/") || name == "kmsg" {
                continue;
            }
            let inode = w.inode(&path).unwrap();
            let a = inode.ops.attr().unwrap();
            match inode.kind {
                FileType::Directory => todo.push(path),
                FileType::Regular if a.perm & 0o400 != 0 => {
                    w.read(&path);
                    files += 1;
                }
                _ => {}
            }
        }
    }
    assert!(files > 400, "{files}");
}

#[test]
fn system_files() {
    let w = world(false);
    assert_eq!(w.read("uptime"), "2184.89 3891.19\n");
    assert_eq!(w.read("loadavg"), "0.44 0.42 0.29 2/104 28835\n");
    assert_eq!(w.read("version"), "Linux version 6.12.0-umbra (umbra) #1\n");
    assert!(w.read("stat").starts_with(
        "cpu  3 3 3 3 3 3 3 3 3 3\ncpu0 1 1 1 1 1 1 1 1 1 1\ncpu1 2 2 2 2 2 2 2 2 2 2\nintr 0\n"
    ));
    let mem = w.read("meminfo");
    assert!(mem.starts_with("MemTotal:         524288 kB\nMemFree:            4000 kB\n"), "{mem}");
    assert!(mem.contains("\nHugePages_Total:       0\n"));
    assert!(mem.contains("\nVmallocTotal:   34359738367 kB\n"));
    if let Ok(host) = std::fs::read_to_string("/proc/meminfo") {
        let names = |s: &str| -> Vec<String> {
            s.lines().map(|l| l.split(':').next().unwrap().to_owned()).collect()
        };
        let ours = names(&mem);
        let places: Vec<_> =
            names(&host).iter().filter_map(|n| ours.iter().position(|o| o == n)).collect();
        assert!(places.len() > 40 && places.is_sorted());
    }
    assert_eq!(
        w.read("partitions"),
        "major minor  #blocks  name\n\n  98        0       1024 ubda\n"
    );
    assert!(w.read("diskstats").starts_with("  98       0 ubda 0 0 0 0 "));
    assert_eq!(w.read("diskstats").split_whitespace().count(), 20);
    assert_eq!(w.read("42/mounts"), "pr\\040oc / proc rw,relatime 0 0\n");
    let info = w.read("42/mountinfo");
    assert!(info.ends_with(" 0:21 / / rw,relatime - proc pr\\040oc rw\n"), "{info}");
    let f = w.open("42/mountinfo", OpenFlags::empty()).unwrap();
    assert!(!f.ops.poll(&f, None).contains(PollEvents::PRI));
}

#[test]
fn variables() {
    let w = world(false);
    assert!(sysctl_table::SYSCTLS.is_sorted_by(|a, b| a.path < b.path));
    assert!(w.list("sys").starts_with(&[".".into(), "..".into(), "abi".into()]));
    assert!(w.list("sys/kernel").contains(&"random".to_owned()));
    assert_eq!(w.read("sys/kernel/hostname"), "box\n");
    w.write("sys/kernel/hostname", "other\n").unwrap();
    assert_eq!(w.read("sys/kernel/hostname"), "other\n");
    assert_eq!(w.read("sys/kernel/osrelease"), "6.12.0-umbra\n");
    let no = |r: Result<usize>| r.unwrap_err().errno();
    assert_eq!(no(w.write("sys/kernel/osrelease", "1\n")), Errno::EACCES);
    w.write("sys/vm/overcommit_memory", "1\n").unwrap();
    assert_eq!(w.read("sys/vm/overcommit_memory"), "1\n");
    assert_eq!(no(w.write("sys/vm/overcommit_memory", "3\n")), Errno::EINVAL);
    assert_eq!(no(w.write("sys/vm/overcommit_memory", "x\n")), Errno::EINVAL);
    w.write("sys/kernel/printk", "7").unwrap();
    assert_eq!(w.read("sys/kernel/printk"), "7\t4\t1\t7\n");
    assert_eq!(w.read("sys/kernel/random/uuid"), "ffffffff-ffff-4fff-bfff-ffffffffffff\n");
    assert_eq!(w.read("sys/fs/file-nr"), "100\t0\t1000\n");
    assert_eq!(no(w.write("version", "x")), Errno::EIO);
    w.fs.set_sysctl("vm.swappiness", "10").unwrap();
    assert_eq!(w.fs.sysctl("vm/swappiness").unwrap(), "10");
}

#[test]
fn settings_of_a_task() {
    let w = world(false);
    w.write("42/comm", "a name that is too long\n").unwrap();
    w.write("42/oom_score_adj", "-17\n").unwrap();
    w.write("42/coredump_filter", "0x33\n").unwrap();
    let set = w.fake.set.lock().unwrap().clone();
    assert_eq!(
        set,
        [
            TaskSetting::Comm(b"a name that is ".to_vec()),
            TaskSetting::OomScoreAdj(-17),
            TaskSetting::CoredumpFilter(0x33),
        ]
    );
    assert_eq!(w.write("42/oom_score_adj", "2000").unwrap_err().errno(), Errno::EINVAL);
    assert_eq!(w.write("1/comm", "x").unwrap_err().errno(), Errno::EINVAL);
    assert_eq!(w.read("42/loginuid"), "4294967295");
    assert_eq!(w.read("42/uid_map"), "         0          0 4294967295\n");
}
