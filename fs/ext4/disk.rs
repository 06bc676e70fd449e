//! Little-endian access to on-disk structures, and the numbers of the format.
//!
//! A read outside of the buffer gives 0 and a write there does nothing: offsets that come from the
//! disk are checked by their users, and a check that is missing must not become a panic.

/// The byte at `at`.
pub(super) fn get8(b: &[u8], at: usize) -> u8 {
    b.get(at).copied().unwrap_or(0)
}
/// The 16-bit word at `at`.
#[inline]
pub(super) fn get16(b: &[u8], at: usize) -> u16 {
    match b.get(at..at + 2) {
        Some(&[x, y]) => u16::from_le_bytes([x, y]),
        _ => 0,
    }
}
/// The 32-bit word at `at`.
#[inline]
pub(super) fn get32(b: &[u8], at: usize) -> u32 {
    match b.get(at..at + 4) {
        Some(&[x, y, z, w]) => u32::from_le_bytes([x, y, z, w]),
        _ => 0,
    }
}
/// Sets the byte at `at`.
pub(super) fn put8(b: &mut [u8], at: usize, v: u8) {
    put(b, at, &[v]);
}
/// Sets the 16-bit word at `at`.
pub(super) fn put16(b: &mut [u8], at: usize, v: u16) {
    put(b, at, &v.to_le_bytes());
}
/// Sets the 32-bit word at `at`.
pub(super) fn put32(b: &mut [u8], at: usize, v: u32) {
    put(b, at, &v.to_le_bytes());
}
/// Stores bytes at `at`.
#[inline]
pub(super) fn put(b: &mut [u8], at: usize, v: &[u8]) {
    match b.get_mut(at..at + v.len()) {
        Some(d) => d.copy_from_slice(v),
        None => debug_assert!(false, "store at {at} outside of {} bytes", b.len()),
    }
}

/// s_magic.
pub(super) const MAGIC: u16 = 0xef53;
/// The inode of the root directory.
pub(super) const ROOT_INO: u64 = 2;

/// s_state: cleanly unmounted.
pub(super) const STATE_VALID: u16 = 1;
/// s_state: errors were seen.
pub(super) const STATE_ERROR: u16 = 2;

/// Feature bits that the code asks for by name; the whole list is in `superblock`.
pub(super) mod feature {
    pub(crate) const COMPAT_DIR_INDEX: u32 = 0x20;
    pub(crate) const COMPAT_SPARSE2: u32 = 0x200;
    pub(crate) const INCOMPAT_FILETYPE: u32 = 0x2;
    pub(crate) const INCOMPAT_RECOVER: u32 = 0x4;
    pub(crate) const INCOMPAT_META_BG: u32 = 0x10;
    pub(crate) const INCOMPAT_EXTENTS: u32 = 0x40;
    pub(crate) const INCOMPAT_64BIT: u32 = 0x80;
    pub(crate) const INCOMPAT_CSUM_SEED: u32 = 0x2000;
    pub(crate) const INCOMPAT_LARGEDIR: u32 = 0x4000;
    pub(crate) const RO_SPARSE_SUPER: u32 = 0x1;
    pub(crate) const RO_LARGE_FILE: u32 = 0x2;
    pub(crate) const RO_HUGE_FILE: u32 = 0x8;
    pub(crate) const RO_GDT_CSUM: u32 = 0x10;
    pub(crate) const RO_DIR_NLINK: u32 = 0x20;
    pub(crate) const RO_METADATA_CSUM: u32 = 0x400;
}

/// i_flags.
pub(super) mod iflag {
    pub(crate) const IMMUTABLE: u32 = 0x10;
    pub(crate) const APPEND: u32 = 0x20;
    pub(crate) const NODUMP: u32 = 0x40;
    pub(crate) const ENCRYPT: u32 = 0x800;
    pub(crate) const INDEX: u32 = 0x1000;
    pub(crate) const HUGE_FILE: u32 = 0x4_0000;
    pub(crate) const EXTENTS: u32 = 0x8_0000;
    pub(crate) const EA_INODE: u32 = 0x20_0000;
    pub(crate) const INLINE_DATA: u32 = 0x1000_0000;
    /// What a new inode takes over from its directory: s u S A d D t of chattr, not `i` and `a`.
    pub(crate) const INHERITED: u32 = 0x1 | 0x2 | 0x8 | 0x40 | 0x80 | 0x1_0000;
}

/// bg_flags.
pub(super) mod gflag {
    pub(crate) const INODE_UNINIT: u16 = 1;
    pub(crate) const BLOCK_UNINIT: u16 = 2;
}
