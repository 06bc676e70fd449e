//! mount(2), umount2(2), pivot_root(2).

use base::{Cap, Cred, Errno, Result, err};

use crate::inode::{FileType, MountArgs};
use crate::mount::{MountFlags, Propagation};
use crate::path::{FsContext, Path};
use crate::walk::{LookupFlags, lookup};

const MS_REMOUNT: u64 = 32;
const MS_BIND: u64 = 4096;
const MS_MOVE: u64 = 8192;
const MS_REC: u64 = 16384;
const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;

fn admin(cred: &Cred) -> Result<()> {
    if cred.capable(Cap::SysAdmin) { Ok(()) } else { err(Errno::EPERM) }
}

/// The flags of the mount itself; without a word about access times it is relatime.
fn mount_flags(flags: u64) -> MountFlags {
    let mut f = MountFlags::from_bits_truncate(flags as u32);
    if !f.intersects(MountFlags::NOATIME | MountFlags::STRICTATIME) {
        f |= MountFlags::RELATIME;
    }
    if f.contains(MountFlags::STRICTATIME) {
        f -= MountFlags::RELATIME | MountFlags::NOATIME;
    }
    f - MountFlags::STRICTATIME
}

/// mount(2), all of its forms: `flags` (MS_*) say which. For types that need a device `source` is
/// the name of its node.
///
/// # Errors
/// mount(2): EPERM, ENODEV (unknown type), ENOTBLK, ENXIO, EBUSY, EINVAL, ELOOP, ENOTDIR, ENOENT.
pub fn mount(
    ctx: &FsContext,
    cred: &Cred,
    source: &[u8],
    target: &[u8],
    fstype: &[u8],
    flags: u64,
    data: &[u8],
) -> Result<()> {
    let flags = if flags & 0xffff_0000 == 0xc0ed_0000 { flags & 0xffff } else { flags };
    let target = lookup(ctx, cred, None, target, LookupFlags::FOLLOW)?;
    admin(cred)?;
    let ns = ctx.ns();
    let recursive = flags & MS_REC != 0;
    let propagation = flags & (MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED);
    if flags & MS_REMOUNT != 0 {
        return remount(&target, flags, data);
    }
    if flags & MS_BIND != 0 {
        let from = lookup(ctx, cred, None, source, LookupFlags::FOLLOW)?;
        return ns.bind(&from, &target, recursive);
    }
    if propagation != 0 {
        if !std::sync::Arc::ptr_eq(&target.dentry, target.mount.root()) {
            return err(Errno::EINVAL);
        }
        let kind = match propagation {
            MS_PRIVATE => Propagation::Private,
            MS_SHARED => Propagation::Shared(0),
            MS_SLAVE => Propagation::Slave(0),
            MS_UNBINDABLE => Propagation::Unbindable,
            _ => return err(Errno::EINVAL),
        };
        ns.set_propagation(&target.mount, kind, recursive);
        return Ok(());
    }
    if flags & MS_MOVE != 0 {
        let from = lookup(ctx, cred, None, source, LookupFlags::FOLLOW)?;
        return ns.move_mount(&from, &target);
    }
    let vfs = ns.vfs();
    let Some(t) = vfs.fs_type(fstype) else { return err(Errno::ENODEV) };
    let device = if t.needs_device() { Some(block_device(ctx, cred, source)?) } else { None };
    let args =
        MountArgs { source, device, read_only: flags & 1 != 0, options: data, memory: &vfs.memory };
    let m = vfs.mount_type(&*t, &args, mount_flags(flags))?;
    ns.attach(m, &target)
}

fn block_device(
    ctx: &FsContext,
    cred: &Cred,
    source: &[u8],
) -> Result<(drivers::DevNum, std::sync::Arc<dyn drivers::BlockDevice>)> {
    let at = lookup(ctx, cred, None, source, LookupFlags::FOLLOW)?;
    if at.inode().kind != FileType::BlockDevice {
        return err(Errno::ENOTBLK);
    }
    if at.mount.flags().contains(MountFlags::NODEV) {
        return err(Errno::EACCES);
    }
    match ctx.ns().vfs().devices.blocks.get(at.inode().rdev) {
        Some(d) => Ok((at.inode().rdev, d)),
        None => err(Errno::ENXIO),
    }
}

/// MS_REMOUNT: of the superblock, and of this mount; with MS_BIND of this mount only.
fn remount(target: &Path, flags: u64, data: &[u8]) -> Result<()> {
    let m = &target.mount;
    if !std::sync::Arc::ptr_eq(&target.dentry, m.root()) {
        return err(Errno::EINVAL);
    }
    let new = mount_flags(flags);
    if flags & MS_BIND == 0 {
        m.sb().fs().remount(new.contains(MountFlags::RDONLY), data)?;
    }
    m.set_flags(new);
    Ok(())
}

/// umount2(2). `flags`: MNT_FORCE 1 (no more than asking), MNT_DETACH 2, MNT_EXPIRE 4 (EAGAIN the
/// first time is not kept: EINVAL), UMOUNT_NOFOLLOW 8.
///
/// # Errors
/// EPERM, EINVAL, EBUSY, ENOENT, ENOTDIR: umount(2).
pub fn umount(ctx: &FsContext, cred: &Cred, target: &[u8], flags: u32) -> Result<()> {
    if flags & !0xb != 0 {
        return err(Errno::EINVAL);
    }
    let look = if flags & 8 != 0 { LookupFlags::empty() } else { LookupFlags::FOLLOW };
    let at = lookup(ctx, cred, None, target, look)?;
    admin(cred)?;
    let sb = at.mount.sb().clone();
    let r = ctx.ns().umount(at, flags & 2 != 0);
    if r.is_err() && flags & 2 == 0 {
        // As Linux does before it says EBUSY: nothing is lost if power goes now.
        let _ = sb.fs().sync();
    }
    r
}

/// pivot_root(2). Returns the old and the new root: the kernel then calls
/// [`FsContext::replace`] with them for every task.
///
/// # Errors
/// EPERM, EINVAL, EBUSY, ENOTDIR: pivot_root(2).
pub fn pivot_root(
    ctx: &FsContext,
    cred: &Cred,
    new_root: &[u8],
    put_old: &[u8],
) -> Result<(Path, Path)> {
    admin(cred)?;
    let new = lookup(ctx, cred, None, new_root, LookupFlags::FOLLOW | LookupFlags::DIRECTORY)?;
    let put = lookup(ctx, cred, None, put_old, LookupFlags::FOLLOW | LookupFlags::DIRECTORY)?;
    let old_root = ctx.root();
    ctx.ns().pivot_root(&new, &put)?;
    ctx.replace(&old_root, &new);
    Ok((old_root, new))
}
