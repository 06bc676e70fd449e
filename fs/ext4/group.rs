//! Block groups: their descriptors, the zones of fixed metadata, and getting at the bitmaps.
//!
//! Descriptors are decoded once, at mount, and live in [`Groups`]; changed ones are encoded again,
//! with the checksums of their bitmaps, when metadata is written back (`Ext4::flush_groups`).

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Errno, Result, err};
use drivers::BlockDevice;

use super::bitmap;
use super::cache::{Buf, Cache, Kind, put_split};
use super::crc::{crc16, crc32c};
use super::disk::{feature as f, get16, get32, gflag, put16, put32};
use super::superblock::Geometry;

/// One group, decoded.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub(super) struct Group {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
    pub free_blocks: u32,
    pub free_inodes: u32,
    pub dirs: u32,
    pub unused_inodes: u32,
    pub flags: u16,
    pub block_csum: u32,
    pub inode_csum: u32,
    /// The descriptor must be written.
    pub dirty: bool,
    /// A bitmap that contradicts itself: nothing is allocated here.
    pub corrupt: bool,
}

/// All groups and what is known of free space.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) list: Vec<Group>,
    /// Fixed metadata (superblocks, descriptors, bitmaps, inode tables) as sorted ranges.
    pub(super) zones: Vec<(u64, u64)>,
    pub(super) free_blocks: u64,
    pub(super) free_inodes: u64,
    /// Preallocation windows: start -> (end, inode).
    pub(super) windows: BTreeMap<u64, (u64, u64)>,
    /// Where the next directory below the root goes.
    pub(super) next_top: u64,
}

/// The block that holds a group's descriptor, and where in it.
pub(super) fn desc_place(geo: &Geometry, group: u64) -> (u64, usize) {
    let per = (geo.block_size / geo.desc_size) as u64;
    let nth = group / per;
    let at = (group % per) as usize * geo.desc_size;
    let block = if geo.incompat & f::INCOMPAT_META_BG != 0 && nth >= geo.first_meta_bg {
        let first = nth * per;
        geo.group_start(first) + u64::from(geo.has_super(first))
    } else {
        geo.first_block + 1 + nth
    };
    (block, at)
}

fn desc_csum(geo: &Geometry, group: u64, d: &[u8]) -> u16 {
    let number = (group as u32).to_le_bytes();
    if geo.metadata_csum() {
        let c = crc32c(crc32c(geo.csum_seed, &number), &d[..0x1e]);
        crc32c(crc32c(c, &[0; 2]), &d[0x20..]) as u16
    } else {
        let c = crc16(crc16(crc16(!0, &geo.uuid), &number), &d[..0x1e]);
        crc16(c, &d[0x20..])
    }
}

fn decode(geo: &Geometry, d: &[u8]) -> Group {
    let wide = geo.desc_size >= 64;
    let hi32 = |at| if wide { u64::from(get32(d, at)) << 32 } else { 0 };
    let hi16 = |at| if wide { u32::from(get16(d, at)) << 16 } else { 0 };
    Group {
        block_bitmap: u64::from(get32(d, 0)) | hi32(0x20),
        inode_bitmap: u64::from(get32(d, 4)) | hi32(0x24),
        inode_table: u64::from(get32(d, 8)) | hi32(0x28),
        free_blocks: u32::from(get16(d, 0xc)) | hi16(0x2c),
        free_inodes: u32::from(get16(d, 0xe)) | hi16(0x2e),
        dirs: u32::from(get16(d, 0x10)) | hi16(0x30),
        unused_inodes: u32::from(get16(d, 0x1c)) | hi16(0x32),
        flags: if geo.group_csum() { get16(d, 0x12) } else { 0 },
        block_csum: u32::from(get16(d, 0x18)) | hi16(0x38),
        inode_csum: u32::from(get16(d, 0x1a)) | hi16(0x3a),
        dirty: false,
        corrupt: false,
    }
}

/// Writes what can change of a group into its descriptor.
pub(super) fn encode(geo: &Geometry, number: u64, g: &Group, d: &mut [u8]) {
    let wide = geo.desc_size >= 64;
    let mut put = |lo: usize, hi: usize, v: u32| {
        put16(d, lo, v as u16);
        if wide {
            put16(d, hi, (v >> 16) as u16);
        }
    };
    put(0xc, 0x2c, g.free_blocks);
    put(0xe, 0x2e, g.free_inodes);
    put(0x10, 0x30, g.dirs);
    if geo.group_csum() {
        put(0x1c, 0x32, g.unused_inodes);
        put16(d, 0x12, g.flags);
        if geo.metadata_csum() {
            put_split(d, 0x18, wide.then_some(0x38), g.block_csum);
            put_split(d, 0x1a, wide.then_some(0x3a), g.inode_csum);
        }
        let c = desc_csum(geo, number, d);
        put16(d, 0x1e, c);
    }
}

/// Reads and checks all descriptors.
///
/// # Errors
/// EIO; EUCLEAN for wrong checksums and places outside of the file system.
pub(super) fn load(geo: &Geometry, dev: &dyn BlockDevice) -> Result<Groups> {
    let mut all = Groups::default();
    let mut zones = Vec::new();
    let mut block = (u64::MAX, vec![0; geo.block_size]);
    let per = (geo.block_size / geo.desc_size) as u64;
    let table = geo.groups.div_ceil(per).min(if geo.incompat & f::INCOMPAT_META_BG != 0 {
        geo.first_meta_bg
    } else {
        u64::MAX
    });
    let end = |at: u64, n: u64| at.checked_add(n).filter(|&e| at > 0 && e <= geo.blocks);
    for n in 0..geo.groups {
        let (at, off) = desc_place(geo, n);
        if at >= geo.blocks {
            return damaged(n, "lies outside of the file system");
        }
        if block.0 != at {
            dev.read(at << geo.block_bits, &mut block.1)?;
            block.0 = at;
            zones.push((at, at + 1));
        }
        let d = &block.1[off..off + geo.desc_size];
        if geo.group_csum() && desc_csum(geo, n, d) != get16(d, 0x1e) {
            return damaged(n, "has a wrong checksum");
        }
        let g = decode(geo, d);
        let (Some(b), Some(i), Some(t)) = (
            end(g.block_bitmap, 1),
            end(g.inode_bitmap, 1),
            end(g.inode_table, geo.itable_blocks()),
        ) else {
            return damaged(n, "has bitmaps or an inode table outside of the file system");
        };
        if u64::from(g.free_blocks) > geo.group_blocks(n)
            || u64::from(g.free_inodes.max(g.unused_inodes)) > geo.inodes_per_group
        {
            return damaged(n, "has impossible counts");
        }
        zones.extend([(g.block_bitmap, b), (g.inode_bitmap, i), (g.inode_table, t)]);
        if geo.has_super(n) {
            let s = geo.group_start(n);
            let gdt = table + if table < geo.groups.div_ceil(per) { 0 } else { geo.reserved_gdt };
            zones.push((s, (s + 1 + gdt).min(geo.blocks)));
        }
        let in_meta = n % per;
        if geo.incompat & f::INCOMPAT_META_BG != 0
            && n / per >= geo.first_meta_bg
            && (in_meta < 2 || in_meta == per - 1)
        {
            // meta_bg: each block of descriptors has two copies, in groups of its own.
            let s = geo.group_start(n) + u64::from(geo.has_super(n));
            zones.push((s, s + 1));
        }
        all.free_blocks += u64::from(g.free_blocks);
        all.free_inodes += u64::from(g.free_inodes);
        all.list.push(g);
    }
    zones.push((0, geo.first_block + 1));
    zones.sort_unstable();
    for z in zones {
        match all.zones.last_mut() {
            Some(l) if l.1 >= z.0 => l.1 = l.1.max(z.1),
            _ => all.zones.push(z),
        }
    }
    Ok(all)
}

fn damaged<T>(group: u64, what: &str) -> Result<T> {
    log::error!("ext4: descriptor of group {group} {what}; run e2fsck -y IMAGE");
    err(Errno::EUCLEAN)
}

impl Groups {
    /// Whether `start..start + len` touches fixed metadata.
    pub(super) fn in_zone(&self, start: u64, len: u64) -> bool {
        let i = self.zones.partition_point(|z| z.1 <= start);
        self.zones.get(i).is_some_and(|z| z.0 < start.saturating_add(len))
    }

    /// A group's block bitmap, checked; made if the group is uninitialised.
    ///
    /// # Errors
    /// EIO; EUCLEAN once the group is known to be corrupt.
    pub(super) fn block_bitmap(&mut self, geo: &Geometry, c: &Cache, n: u64) -> Result<Arc<Buf>> {
        let g = &self.list[n as usize];
        if g.corrupt {
            return err(Errno::EUCLEAN);
        }
        let valid = geo.group_blocks(n) as usize;
        if g.flags & gflag::BLOCK_UNINIT != 0 {
            let (start, at) = (geo.group_start(n), g.block_bitmap);
            let buf = c.get_new(at);
            let zones: Vec<(u64, u64)> = {
                let i = self.zones.partition_point(|z| z.1 <= start);
                let end = start + valid as u64;
                self.zones[i..].iter().take_while(|z| z.0 < end).copied().collect()
            };
            let free = c.modify(&buf, |d| {
                for z in zones {
                    let from = z.0.saturating_sub(start) as usize;
                    bitmap::fill(d, from, ((z.1 - start) as usize).min(valid), true);
                }
                let end = d.len() * 8;
                bitmap::fill(d, valid, end, true);
                bitmap::count_zero(d, valid)
            });
            buf.set_verified(Kind::Plain, n as u32);
            let g = &mut self.list[n as usize];
            self.free_blocks = self.free_blocks - u64::from(g.free_blocks) + u64::from(free);
            g.free_blocks = free;
            g.flags &= !gflag::BLOCK_UNINIT;
            g.dirty = true;
            return Ok(buf);
        }
        let buf = c.get(g.block_bitmap)?;
        if !buf.is_verified(Kind::Plain, n as u32) {
            let d = buf.bytes();
            let sum = crc32c(geo.csum_seed, &d[..geo.per_group as usize / 8]);
            if (geo.metadata_csum() && !g.dirty && !same(geo, sum, g.block_csum))
                || bitmap::count_zero(&d, valid) != g.free_blocks
            {
                return self.condemn(n, "block bitmap");
            }
            buf.set_verified(Kind::Plain, n as u32);
        }
        Ok(buf)
    }

    /// A group's inode bitmap, checked; made if the group is uninitialised.
    ///
    /// # Errors
    /// As `block_bitmap`.
    pub(super) fn inode_bitmap(&mut self, geo: &Geometry, c: &Cache, n: u64) -> Result<Arc<Buf>> {
        let g = &mut self.list[n as usize];
        if g.corrupt {
            return err(Errno::EUCLEAN);
        }
        let valid = geo.inodes_per_group as usize;
        if g.flags & gflag::INODE_UNINIT != 0 {
            let buf = c.get_new(g.inode_bitmap);
            c.modify(&buf, |d| {
                let end = d.len() * 8;
                bitmap::fill(d, valid, end, true);
            });
            buf.set_verified(Kind::Plain, n as u32);
            g.flags &= !gflag::INODE_UNINIT;
            g.unused_inodes = valid as u32;
            g.dirty = true;
            return Ok(buf);
        }
        let buf = c.get(g.inode_bitmap)?;
        if !buf.is_verified(Kind::Plain, n as u32) {
            let d = buf.bytes();
            let sum = crc32c(geo.csum_seed, &d[..valid / 8]);
            if (geo.metadata_csum() && !g.dirty && !same(geo, sum, g.inode_csum))
                || bitmap::count_zero(&d, valid) != g.free_inodes
            {
                return self.condemn(n, "inode bitmap");
            }
            buf.set_verified(Kind::Plain, n as u32);
        }
        Ok(buf)
    }

    fn condemn<T>(&mut self, n: u64, what: &str) -> Result<T> {
        let g = &mut self.list[n as usize];
        g.corrupt = true;
        self.free_blocks = self.free_blocks.saturating_sub(g.free_blocks.into());
        self.free_inodes = self.free_inodes.saturating_sub(g.free_inodes.into());
        log::error!("ext4: {what} of group {n} is damaged: the group is not used; run e2fsck");
        err(Errno::EUCLEAN)
    }

    /// Encodes changed descriptors, with their bitmaps' checksums, into their buffers.
    pub(super) fn flush(&mut self, geo: &Geometry, c: &Cache) -> Result<()> {
        for n in 0..self.list.len() {
            if !self.list[n].dirty {
                continue;
            }
            let g = &mut self.list[n];
            if geo.metadata_csum() {
                if g.flags & gflag::BLOCK_UNINIT == 0 && !g.corrupt {
                    let d = c.get(g.block_bitmap)?.bytes();
                    g.block_csum = crc32c(geo.csum_seed, &d[..geo.per_group as usize / 8]);
                }
                if g.flags & gflag::INODE_UNINIT == 0 && !g.corrupt {
                    let d = c.get(g.inode_bitmap)?.bytes();
                    g.inode_csum = crc32c(geo.csum_seed, &d[..geo.inodes_per_group as usize / 8]);
                }
            }
            let (block, at) = desc_place(geo, n as u64);
            let buf = c.get(block)?;
            c.modify(&buf, |d| encode(geo, n as u64, g, &mut d[at..at + geo.desc_size]));
            g.dirty = false;
        }
        Ok(())
    }

    /// Puts free totals into the superblock.
    pub(super) fn totals(&self, geo: &Geometry, sb: &mut [u8]) {
        put32(sb, 0xc, self.free_blocks as u32);
        if geo.incompat & f::INCOMPAT_64BIT != 0 {
            put32(sb, 0x158, (self.free_blocks >> 32) as u32);
        }
        put32(sb, 0x10, self.free_inodes as u32);
    }
}

/// Narrow descriptors keep only half of a checksum.
fn same(geo: &Geometry, a: u32, b: u32) -> bool {
    if geo.desc_size >= 64 { a == b } else { a as u16 == b as u16 }
}
