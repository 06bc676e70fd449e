//! The superblock: 1024 bytes at byte 1024 of the device. It is checked once, at mount; what it
//! fixes for good becomes [`Geometry`], what changes stays in its raw bytes (see `Ext4::sb`).

use base::{Errno, Result, err};

use super::crc::crc32c;
use super::disk::{MAGIC, STATE_ERROR, feature as f, get8, get16, get32, put32};

const COMPAT_NAMES: &[(u32, &str)] = &[(0x40, "lazy_bg")];
const INCOMPAT_NAMES: &[(u32, &str)] = &[
    (0x1, "compression"),
    (0x8, "journal_dev"),
    (0x100, "mmp"),
    (0x400, "ea_inode"),
    (0x1000, "dirdata"),
    (0x8000, "inline_data"),
    (0x1_0000, "encrypt"),
    (0x2_0000, "casefold"),
];
const RO_NAMES: &[(u32, &str)] = &[
    (0x80, "has_snapshot"),
    (0x100, "quota"),
    (0x200, "bigalloc"),
    (0x800, "replica"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x4000, "shared_blocks"),
    (0x8000, "verity"),
    (0x1_0000, "orphan_present"),
];
const COMPAT_OK: u32 = 0x1fff & !0x40;
const INCOMPAT_OK: u32 = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x200 | 0x2000 | 0x4000;
const RO_OK: u32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x400;
const RO_BIGALLOC: u32 = 0x200;
const INCOMPAT_MMP: u32 = 0x100;
const RO_ORPHAN_PRESENT: u32 = 0x1_0000;

/// What the superblock fixes for the life of the file system.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub(super) struct Geometry {
    pub block_size: usize,
    pub block_bits: u32,
    pub blocks: u64,
    pub first_block: u64,
    pub per_group: u64,
    pub inodes: u64,
    pub inodes_per_group: u64,
    pub inode_size: usize,
    pub desc_size: usize,
    pub groups: u64,
    pub first_ino: u64,
    pub reserved_gdt: u64,
    pub first_meta_bg: u64,
    pub backup_bgs: [u64; 2],
    pub compat: u32,
    pub incompat: u32,
    pub ro_compat: u32,
    pub uuid: [u8; 16],
    pub csum_seed: u32,
    pub hash_seed: [u32; 4],
    pub hash_version: u8,
    pub hash_unsigned: bool,
    pub extra_isize: u16,
    pub reserved_uid: u32,
}

impl Geometry {
    /// Whether metadata carries CRC-32C checksums.
    pub(super) fn metadata_csum(&self) -> bool {
        self.ro_compat & f::RO_METADATA_CSUM != 0
    }
    /// Whether group descriptors carry a checksum of either kind (and so may be uninitialised).
    pub(super) fn group_csum(&self) -> bool {
        self.ro_compat & (f::RO_METADATA_CSUM | f::RO_GDT_CSUM) != 0
    }
    /// Whether directories are hashed once they outgrow a block.
    pub(super) fn dir_index(&self) -> bool {
        self.compat & f::COMPAT_DIR_INDEX != 0
    }
    /// Blocks of one group's inode table.
    pub(super) fn itable_blocks(&self) -> u64 {
        (self.inodes_per_group * self.inode_size as u64).div_ceil(self.block_size as u64)
    }
    /// First block of a group.
    pub(super) fn group_start(&self, group: u64) -> u64 {
        self.first_block + group * self.per_group
    }
    /// Blocks in a group: the last one may be short.
    pub(super) fn group_blocks(&self, group: u64) -> u64 {
        self.per_group.min(self.blocks - self.group_start(group))
    }
    /// Whether the group holds a copy of the superblock.
    pub(super) fn has_super(&self, group: u64) -> bool {
        if group == 0 {
            return true;
        }
        if self.compat & f::COMPAT_SPARSE2 != 0 {
            return self.backup_bgs.contains(&group);
        }
        if self.ro_compat & f::RO_SPARSE_SUPER == 0 || group == 1 {
            return true;
        }
        [3u64, 5, 7].iter().any(|&p| {
            let mut n = p;
            while n < group {
                n *= p;
            }
            n == group
        })
    }
}

/// How a file system may be mounted.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// The fixed part.
    pub(super) geo: Geometry,
    /// Why it can only be read, if so.
    pub(super) read_only: Option<String>,
}

fn names(bits: u32, known: &[(u32, &str)], class: &str, out: &mut Vec<String>) {
    for b in (0..32).map(|i| 1u32 << i).filter(|b| bits & b != 0) {
        match known.iter().find(|k| k.0 == b) {
            Some(k) => out.push(k.1.into()),
            None => out.push(format!("{class}:{b:#x}")),
        }
    }
}

fn bad<T>(what: &str) -> Result<T> {
    log::error!("ext4: {what}");
    err(Errno::EINVAL)
}

fn damaged<T>(what: &str) -> Result<T> {
    log::error!("ext4: superblock damaged: {what}; run e2fsck -y IMAGE");
    err(Errno::EUCLEAN)
}

/// Checks the superblock against itself and against a device of `device_len` bytes.
///
/// # Errors
/// EINVAL: not ext2/3/4, or features that we lack (named in the log). EUCLEAN: damaged.
pub(super) fn check(sb: &[u8], device_len: u64) -> Result<Verdict> {
    if sb.len() < 1024 || get16(sb, 0x38) != MAGIC {
        return bad("no ext2/3/4 superblock on the device");
    }
    let old = get32(sb, 0x4c) == 0;
    let dynamic = |v: u32| if old { 0 } else { v };
    let (compat, incompat, ro_compat) =
        (dynamic(get32(sb, 0x5c)), dynamic(get32(sb, 0x60)), dynamic(get32(sb, 0x64)));
    let mut lacking = Vec::new();
    names(incompat & !(INCOMPAT_OK | INCOMPAT_MMP), INCOMPAT_NAMES, "incompat", &mut lacking);
    names(ro_compat & RO_BIGALLOC, RO_NAMES, "ro_compat", &mut lacking);
    if !lacking.is_empty() {
        return bad(&format!("unsupported features: {}", lacking.join(", ")));
    }
    if ro_compat & f::RO_METADATA_CSUM != 0 && crc32c(!0, &sb[..0x3fc]) != get32(sb, 0x3fc) {
        return damaged("checksum is wrong");
    }
    names(compat & !COMPAT_OK, COMPAT_NAMES, "compat", &mut lacking);
    names(incompat & INCOMPAT_MMP, INCOMPAT_NAMES, "incompat", &mut lacking);
    names(ro_compat & !RO_OK, RO_NAMES, "ro_compat", &mut lacking);
    let read_only = if incompat & f::INCOMPAT_RECOVER != 0 {
        Some("journal needs replay: mounted read-only; run e2fsck -y IMAGE".into())
    } else if ro_compat & RO_ORPHAN_PRESENT != 0 {
        Some("orphan file needs processing: mounted read-only; run e2fsck -y IMAGE".into())
    } else if !lacking.is_empty() {
        Some(format!("unsupported features: {}: mounted read-only", lacking.join(", ")))
    } else if get16(sb, 0x3a) & STATE_ERROR != 0 {
        Some("file system has errors: mounted read-only; run e2fsck -y IMAGE".into())
    } else {
        None
    };
    let geo = geometry(sb, old, compat, incompat, ro_compat)?;
    let need = geo.blocks.saturating_mul(geo.block_size as u64);
    if need > device_len {
        return bad(&format!(
            "file system of {need} bytes on a device of {device_len}: truncated?"
        ));
    }
    Ok(Verdict { geo, read_only })
}

fn geometry(sb: &[u8], old: bool, compat: u32, incompat: u32, ro: u32) -> Result<Geometry> {
    let log = get32(sb, 0x18);
    if log > 2 {
        return bad("block sizes other than 1, 2 and 4 KiB are not supported");
    }
    let block_bits = 10 + log;
    let block_size = 1usize << block_bits;
    let wide = incompat & f::INCOMPAT_64BIT != 0;
    let hi = |at: usize| if wide { u64::from(get32(sb, at)) << 32 } else { 0 };
    let blocks = u64::from(get32(sb, 0x4)) | hi(0x150);
    let first_block = u64::from(get32(sb, 0x14));
    let per_group = u64::from(get32(sb, 0x20));
    let inodes = u64::from(get32(sb, 0));
    let inodes_per_group = u64::from(get32(sb, 0x28));
    let inode_size = if old { 128 } else { get16(sb, 0x58) as usize };
    let desc_size = if wide { get16(sb, 0xfe) as usize } else { 32 };
    let bits = 8 * block_size as u64;
    if first_block != u64::from(block_size == 1024) || blocks <= first_block || blocks >= 1 << 48 {
        return damaged("block count or first block");
    }
    if per_group < 64 || per_group > bits || !per_group.is_multiple_of(8) {
        return damaged("blocks per group");
    }
    if !inode_size.is_power_of_two() || !(128..=block_size).contains(&inode_size) {
        return damaged("inode size");
    }
    if inodes_per_group == 0 || inodes_per_group > bits || !inodes_per_group.is_multiple_of(8) {
        return damaged("inodes per group");
    }
    if !desc_size.is_power_of_two()
        || !(if wide { 64..=1024 } else { 32..=32 }).contains(&desc_size)
    {
        return damaged("descriptor size");
    }
    let groups = (blocks - first_block).div_ceil(per_group);
    if groups > 1 << 20
        || groups * inodes_per_group != inodes
        || groups * desc_size as u64 / 4 > blocks * 256
    {
        return damaged("inode count or group count");
    }
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&sb[0x68..0x78]);
    let csum_seed =
        if incompat & f::INCOMPAT_CSUM_SEED != 0 { get32(sb, 0x270) } else { crc32c(!0, &uuid) };
    let flags = get32(sb, 0x160);
    let max_extra = inode_size - 128;
    let extra = (get16(sb, 0x15e).max(get16(sb, 0x15c)).max(32) as usize).min(max_extra) & !3;
    Ok(Geometry {
        block_size,
        block_bits,
        blocks,
        first_block,
        per_group,
        inodes,
        inodes_per_group,
        inode_size,
        desc_size,
        groups,
        first_ino: if old { 11 } else { u64::from(get32(sb, 0x54)).clamp(11, inodes.max(11)) },
        reserved_gdt: u64::from(get16(sb, 0xce)),
        first_meta_bg: u64::from(get32(sb, 0x104)),
        backup_bgs: [get32(sb, 0x24c).into(), get32(sb, 0x250).into()],
        compat,
        incompat,
        ro_compat: ro,
        uuid,
        csum_seed,
        hash_seed: [get32(sb, 0xec), get32(sb, 0xf0), get32(sb, 0xf4), get32(sb, 0xf8)],
        hash_version: get8(sb, 0xfc).min(2),
        hash_unsigned: flags & 2 != 0,
        extra_isize: if extra >= 28 { extra as u16 } else { 0 },
        reserved_uid: get16(sb, 0x50).into(),
    })
}

/// Puts the checksum of a superblock right.
pub(super) fn seal(sb: &mut [u8], geo: &Geometry) {
    if geo.metadata_csum() {
        let c = crc32c(!0, &sb[..0x3fc]);
        put32(sb, 0x3fc, c);
    }
}
