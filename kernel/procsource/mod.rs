//! The kernel as /proc and /sys show it: [`ProcSource`] and [`SysSource`] of fs over a [`Kernel`].
//!
//! Everything here looks and copies; text is made in fs. Files: `task` (a process or thread), `system`
//! (times, counters, tables), `cpuid` (the processor), `access` (who may look at whom), `knobs` (what can
//! be written), `kmsg` (/proc/kmsg).
//!
//! Locks: references to processes are taken under the tree's lock, which is given back before anything
//! else is locked or called: mm and fs have sleeping locks.

mod access;
mod cpuid;
mod kmsg;
mod knobs;
mod system;
mod task;

use std::sync::atomic::{AtomicU8, AtomicU32};
use std::sync::{Arc, Weak};

use base::{Cap, Cred, Errno, Mutex, Result, err};
use drivers::BlockRegistry;
use fs::procfs::{CpuModel, ProcSource, SystemInfo, Table, TaskInfo, TaskSetting};
use fs::sysfs::{NetInterface, SysSource};
use fs::vfs_inode::Executing;
use fs::{File, FileOps, FsContext, Path};

use crate::Kernel;
use crate::task::{Process, Task};

pub use cpuid::CpuId;

/// A source over a kernel. It does not keep the kernel alive: without it, /proc is empty.
pub struct KernelSource {
    kernel: Weak<Kernel>,
    cpu: CpuModel,
    knobs: knobs::Knobs,
    /// Where the reading of /proc/kmsg has come to.
    kmsg: Arc<Mutex<kmsg::Position>>,
}

impl std::fmt::Debug for KernelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KernelSource")
    }
}

/// What procfs of this kernel asks. The processor is shown as far as it is known without CPUID.
pub fn new(kernel: &Arc<Kernel>) -> Arc<dyn ProcSource> {
    KernelSource::new(kernel, None)
}

/// What sysfs of this kernel asks.
pub fn new_sys(kernel: &Arc<Kernel>) -> Arc<dyn SysSource> {
    KernelSource::new(kernel, None)
}

impl KernelSource {
    /// One value for both file systems. With `cpuid` (leaf and subleaf to eax, ebx, ecx, edx)
    /// /proc/cpuinfo has the processor's name and all of its flags.
    pub fn new(kernel: &Arc<Kernel>, cpuid: Option<CpuId>) -> Arc<KernelSource> {
        Arc::new(KernelSource {
            kernel: Arc::downgrade(kernel),
            cpu: cpuid.map_or_else(cpuid::without, |c| cpuid::decode(&c)),
            knobs: knobs::Knobs {
                console_level: AtomicU8::new(kernel.config.console_level()),
                sessions: AtomicU32::new(0),
            },
            kmsg: Arc::new(Mutex::new(kmsg::Position::default())),
        })
    }

    fn kernel(&self) -> Option<Arc<Kernel>> {
        self.kernel.upgrade()
    }

    fn process(&self, pid: u32) -> Option<Arc<Process>> {
        self.kernel()?.tree.lock().process(pid).cloned()
    }

    /// The thread `tid` of the process `pid`, if it lives.
    fn thread(&self, pid: u32, tid: u32) -> Option<Arc<Task>> {
        // A reference is never given back under the tree's lock: it may be the last one.
        let task = self.kernel()?.tree.lock().task(tid);
        task.filter(|t| t.pid() == pid)
    }
}

impl ProcSource for KernelSource {
    fn pids(&self) -> Vec<u32> {
        let Some(k) = self.kernel() else { return Vec::new() };
        let mut all: Vec<u32> = k.tree.lock().nodes().map(|n| n.process.pid).collect();
        all.sort_unstable();
        all
    }

    fn threads(&self, pid: u32) -> Vec<u32> {
        let Some(p) = self.process(pid) else { return Vec::new() };
        let mut all: Vec<u32> = p.lock().threads.iter().map(|t| t.tid()).collect();
        // A first thread that has ended before the others, or a zombie: still shown, as Z.
        if !all.contains(&pid) {
            all.push(pid);
        }
        all.sort_unstable();
        all
    }

    fn task(&self, pid: u32, tid: u32) -> Option<TaskInfo> {
        task::info(&*self.kernel()?, pid, tid)
    }

    fn current_pid(&self) -> u32 {
        crate::sched::current().map_or(0, |t| t.pid())
    }

    fn current_tid(&self) -> u32 {
        crate::sched::current().map_or(0, |t| t.tid())
    }

    fn current_cred(&self) -> Arc<Cred> {
        crate::sched::current().map_or_else(|| Arc::new(Cred::root()), |t| t.cred())
    }

    fn may_access(&self, pid: u32, _attach: bool) -> bool {
        // Looking and attaching differ only by what a security module such as Yama adds.
        let Some(me) = crate::sched::current() else { return true };
        if me.pid() == pid {
            return true;
        }
        let Some(p) = self.process(pid) else { return false };
        let Some(cred) = task::cred(&p) else { return false };
        let dumpable = task::mm(&p).is_none() || task::dumpable(&p);
        access::may_trace(&me.cred(), &cred, dumpable)
    }

    fn mm(&self, pid: u32) -> Option<Arc<mm::AddressSpace>> {
        task::mm(&*self.process(pid)?)
    }

    fn fds(&self, pid: u32, tid: u32) -> Vec<u32> {
        let files = self.thread(pid, tid).and_then(|t| t.files());
        files.map_or_else(Vec::new, |f| f.fds().into_iter().map(|fd| fd as u32).collect())
    }

    fn file(&self, pid: u32, tid: u32, fd: u32) -> Option<(Arc<File>, bool)> {
        let fd = i32::try_from(fd).ok()?;
        let files = self.thread(pid, tid)?.files()?;
        let file = files.get(fd).ok()?;
        Some((file, files.cloexec(fd).unwrap_or(false)))
    }

    fn fs_context(&self, pid: u32, tid: u32) -> Option<Arc<FsContext>> {
        Some(self.thread(pid, tid)?.fs())
    }

    fn exe(&self, pid: u32) -> Option<Path> {
        let exe = self.mm(pid)?.layout().exe?;
        exe.downcast_ref::<Executing>().map(|e| e.path().clone())
    }

    fn tgid_of(&self, tid: u32) -> Option<u32> {
        let task = self.kernel()?.tree.lock().task(tid);
        task.map(|t| t.pid())
    }

    fn set(&self, pid: u32, tid: u32, setting: TaskSetting) -> Result<()> {
        self.set_task(pid, tid, setting)
    }

    fn system(&self) -> SystemInfo {
        self.kernel().map_or_else(SystemInfo::default, |k| system::info(&k, &self.cpu))
    }

    fn memory(&self) -> mm::MemStats {
        self.kernel().map_or_else(mm::MemStats::default, |k| k.memory.stats())
    }

    fn disks(&self) -> Option<Arc<BlockRegistry>> {
        Some(self.kernel()?.vfs.devices.blocks.clone())
    }

    fn table(&self, table: Table<'_>) -> Option<String> {
        system::table(&*self.kernel()?, table)
    }

    fn open_kmsg(&self) -> Result<Arc<dyn FileOps>> {
        if !self.current_cred().capable(Cap::Syslog) {
            return err(Errno::EPERM);
        }
        match self.kernel() {
            Some(k) => Ok(Arc::new(kmsg::Kmsg::new(k.log.clone(), self.kmsg.clone()))),
            None => err(Errno::ENXIO),
        }
    }

    fn sysctl(&self, name: &str) -> Option<String> {
        self.read_sysctl(name)
    }

    fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.write_sysctl(name, value)
    }

    fn random(&self, buf: &mut [u8]) {
        if let Some(k) = self.kernel() {
            k.random(buf);
        }
    }

    fn sysrq(&self, key: u8) -> Result<()> {
        self.do_sysrq(key);
        Ok(())
    }
}

impl SysSource for KernelSource {
    fn cpus(&self) -> u32 {
        self.kernel().map_or(1, |k| k.online_cpus().count_ones())
    }

    fn memory(&self) -> mm::MemStats {
        ProcSource::memory(self)
    }

    fn interfaces(&self) -> Vec<NetInterface> {
        Vec::new() // the network's part
    }

    fn consoles(&self) -> Vec<String> {
        let Some(k) = self.kernel() else { return Vec::new() };
        let (mut rest, mut preferred) = (Vec::new(), Vec::new());
        for (n, c) in &k.consoles {
            let list = if *n == k.config.console { &mut preferred } else { &mut rest };
            list.push(c.tty().name().to_owned());
        }
        rest.append(&mut preferred);
        rest
    }

    fn generation(&self) -> u64 {
        // A number that differs with the set of devices: FNV-1a over their numbers.
        let Some(k) = self.kernel() else { return 0 };
        let d = &k.vfs.devices;
        let chars = d.chars.list().into_iter().map(|c| c.dev.to_user());
        let blocks = d.blocks.list().into_iter().map(|b| b.dev().to_user() | 1 << 63);
        let mix = |h: u64, n: u64| (h ^ n).wrapping_mul(0x100_0000_01b3);
        chars.chain(blocks).fold(0xcbf2_9ce4_8422_2325, mix)
    }
}
