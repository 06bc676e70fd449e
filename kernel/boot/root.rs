//! File system types, the root, and what is mounted before the first program.

use std::sync::Arc;

use arch::hostfile::HostFile;
use base::{Cred, Errno};
use drivers::DevNum;
use fs::ext4::Ext4Type;
use fs::inode::MountArgs;
use fs::{FileSystemType, FsContext, MountFlags, MountNamespace, Vfs};
use mm::Memory;

use super::devices::DeviceSet;
use crate::Kernel;
use crate::logging;

/// Largest `initrd=`.
const MAX_INITRD: u64 = 1 << 30;

/// The VFS with all types. To add a type is to add a line.
pub(super) fn file_systems(memory: &Arc<Memory>, devices: &DeviceSet) -> Arc<Vfs> {
    let vfs = Vfs::new(memory.clone(), devices.tables.clone());
    let types: [Arc<dyn FileSystemType>; 3] =
        [Arc::new(Ext4Type("ext4")), Arc::new(Ext4Type("ext3")), Arc::new(Ext4Type("ext2"))];
    for t in types {
        vfs.register_type(t);
    }
    vfs
}

/// What `umbra run` mounts: type, place, options, flags. Places that the image lacks are made, if it can
/// be written.
const RUN_MOUNTS: &[(&str, &str, &str, u64)] = &[
    ("proc", "/proc", "", NOSUID | NODEV | NOEXEC),
    ("sysfs", "/sys", "", NOSUID | NODEV | NOEXEC),
    ("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", NOSUID | NOEXEC),
    ("tmpfs", "/dev/shm", "mode=1777", NOSUID | NODEV),
    ("tmpfs", "/tmp", "mode=1777", NODEV),
];
const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const NOEXEC: u64 = 8;

/// procfs and sysfs show the kernel, so they come after it.
fn register_views(kernel: &Arc<Kernel>) {
    let source = crate::procsource::KernelSource::new(kernel, Some(arch::xsave::cpuid_words));
    let d = &kernel.vfs.devices;
    let proc = fs::procfs::ProcFs::new(source.clone(), DevNum::new(0, 17));
    let parts = fs::sysfs::SysParts { source, blocks: d.blocks.clone(), chars: d.chars.clone() };
    let sys = fs::sysfs::SysFs::new(parts, DevNum::new(0, 16));
    kernel.vfs.register_type(proc.into_type());
    kernel.vfs.register_type(sys.into_type());
}

/// Mounts the root and what belongs on it; gives init's view of the files.
pub(super) fn mount(kernel: &Arc<Kernel>) -> Result<Arc<FsContext>, String> {
    register_views(kernel);
    let config = &kernel.config;
    let root = if let Some(path) = &config.initrd {
        initial_tmpfs(kernel, path)?
    } else {
        FsContext::new(disk_root(kernel)?)
    };
    put(kernel, &root, "devtmpfs", "/dev", "mode=755", NOSUID);
    if config.run.is_some() {
        for (kind, place, options, flags) in RUN_MOUNTS {
            put(kernel, &root, kind, place, options, *flags);
        }
    }
    Ok(root)
}

/// Mounts one thing; a failure is worth a message and no more.
fn put(kernel: &Kernel, ctx: &FsContext, kind: &str, place: &str, options: &str, flags: u64) {
    if kernel.vfs.fs_type(kind.as_bytes()).is_none() {
        return;
    }
    let cred = Cred::root();
    let (k, p, o) = (kind.as_bytes(), place.as_bytes(), options.as_bytes());
    let mut r = fs::ops::mount(ctx, &cred, k, p, k, flags, o);
    if r.as_ref().is_err_and(|e| e.errno() == Errno::ENOENT) {
        let made = fs::ops::mkdir(ctx, &cred, None, p, 0o755);
        r = made.and_then(|()| fs::ops::mount(ctx, &cred, k, p, k, flags, o));
    }
    if let Err(e) = r {
        log::warn!("{kind} is not mounted on {place}: {}", e.errno().text());
    }
}

/// `/dev/ubda`, `ubda` or `98:0` of the registered disks.
fn find_disk(kernel: &Kernel, name: &str) -> Option<Arc<drivers::Disk>> {
    let blocks = &kernel.vfs.devices.blocks;
    if let Some((major, minor)) = name.split_once(':') {
        return blocks.get(DevNum::new(major.parse().ok()?, minor.parse().ok()?));
    }
    blocks.by_name(name.strip_prefix("/dev/").unwrap_or(name))
}

fn disk_root(kernel: &Arc<Kernel>) -> Result<Arc<MountNamespace>, String> {
    let config = &kernel.config;
    let blocks = &kernel.vfs.devices.blocks;
    let name = match &config.root {
        Some(name) => name.clone(),
        None => {
            let first = blocks.list().into_iter().next().ok_or("no disk to take the root from")?;
            format!("/dev/{}", first.name())
        }
    };
    let disk = find_disk(kernel, &name).ok_or_else(|| {
        let all: Vec<String> = blocks.list().iter().map(|d| d.name().to_owned()).collect();
        match all.join(", ") {
            none if none.is_empty() => format!("root={name}: there is no disk: give ubd0=IMAGE"),
            all => format!("root={name}: there is no such disk; there are: {all}"),
        }
    })?;
    // The user knows the image's name, not ours.
    let index = disk.dev().minor / drivers::registry::UBD_MINORS;
    let image = config
        .disks
        .iter()
        .find(|d| d.index == index)
        .map_or_else(|| name.clone(), |d| d.path.display().to_string());
    let kind = config.root_type.as_deref().unwrap_or("ext4");
    let Some(t) = kernel.vfs.fs_type(kind.as_bytes()).filter(|t| t.needs_device()) else {
        let known: Vec<&str> =
            kernel.vfs.types().iter().filter(|t| t.needs_device()).map(|t| t.name()).collect();
        return Err(format!(
            "rootfstype={kind}: not a type for a disk; there are: {}",
            known.join(", ")
        ));
    };
    let read_only = config.root_rw != Some(true);
    let dev = disk.dev();
    let args = MountArgs {
        source: name.as_bytes(),
        device: Some((dev, disk)),
        read_only,
        options: config.root_flags.as_bytes(),
        memory: &kernel.memory,
    };
    let mut flags = MountFlags::RELATIME;
    flags.set(MountFlags::RDONLY, read_only);
    let from = kernel.log.range().1;
    let (mounted, why) = logging::capture(|| kernel.vfs.mount_type(&*t, &args, flags));
    let root = mounted.map_err(|e| {
        let why =
            why.unwrap_or_else(|| format!("cannot be mounted as {kind}: {}", e.errno().text()));
        format!("{image}: {why}")
    })?;
    logging::replay(from);
    log::info!("root: {kind} of {image}{}", if root.read_only() { ", read-only" } else { "" });
    Ok(MountNamespace::new(kernel.vfs.clone(), root))
}

/// `initrd=`: a tmpfs with the archive's content.
fn initial_tmpfs(kernel: &Arc<Kernel>, path: &std::path::Path) -> Result<Arc<FsContext>, String> {
    let name = path.display();
    let file = HostFile::open(path, true).map_err(|e| format!("initrd=: {e}"))?;
    let bad = |e: base::Error| format!("initrd={name}: {}", e.errno().text());
    let len = file.len().map_err(bad)?;
    if len > MAX_INITRD {
        return Err(format!("initrd={name}: too large"));
    }
    let mut archive = vec![0; len as usize];
    file.read_at(0, &mut archive).map_err(bad)?;
    if archive.starts_with(&[0x1f, 0x8b]) {
        return Err(format!("initrd={name}: is compressed; give it unpacked (gunzip)"));
    }
    let t = kernel.vfs.fs_type(b"tmpfs").ok_or("tmpfs is missing")?;
    let args = MountArgs {
        source: b"rootfs",
        device: None,
        read_only: false,
        options: b"mode=755",
        memory: &kernel.memory,
    };
    let root = kernel.vfs.mount_type(&*t, &args, MountFlags::empty()).map_err(bad)?;
    let ctx = FsContext::new(MountNamespace::new(kernel.vfs.clone(), root));
    fs::initramfs::unpack(&ctx, &archive).map_err(|e| match e.errno() {
        Errno::EINVAL => format!("initrd={name}: is no cpio archive (newc)"),
        e => format!("initrd={name}: {}", e.text()),
    })?;
    Ok(ctx)
}
