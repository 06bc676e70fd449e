//! Function boundaries from unwind information: `.eh_frame_hdr`, `.eh_frame` and the tables of
//! landing pads. A C library without symbols still has these, because exceptions and cancellation
//! must be able to unwind through it. Formats: the Linux Standard Base, "Exception Frames"; for the
//! landing pads, GCC's `unwind-pe.h` and `eh_personality.cc` describe what compilers emit.

use super::elf::Image;

/// DW_EH_PE_omit: no value is there.
const OMIT: u8 = 0xff;

/// The sorted starts of all functions with unwind information.
#[derive(Default)]
pub(super) struct Unwind {
    /// (first address, address of its description).
    frames: Vec<(u64, u64)>,
}

/// What one frame description says of its function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Where its table of landing pads is.
    lsda: Option<u64>,
    /// A signal's return trampoline.
    pub(super) signal: bool,
}

impl Unwind {
    pub(super) fn of(image: &Image) -> Unwind {
        let indexed = image.unwind_index.and_then(|at| index(image, at));
        let frames = indexed.or_else(|| walk(image)).unwrap_or_default();
        Unwind { frames }
    }

    /// The function around `addr`. `None`: no unwind information covers it; `Some(None)`: some
    /// seems to, but it contradicts itself or is of a form unknown here.
    pub(super) fn around(&self, image: &Image, addr: u64) -> Option<Option<Frame>> {
        let i = self.frames.partition_point(|f| f.0 <= addr);
        let (start, at) = *self.frames.get(i.checked_sub(1)?)?;
        let Some(frame) = describe(image, at) else { return Some(None) };
        if addr >= frame.end {
            return None;
        }
        let overlaps = self.frames.get(i).is_some_and(|next| next.0 < frame.end);
        Some((frame.start == start && !overlaps).then_some(frame))
    }

    /// For an address that no function covers: the start of the one before and of the one behind.
    pub(super) fn gap_around(&self, image: &Image, addr: u64) -> Option<(u64, u64)> {
        let i = self.frames.partition_point(|f| f.0 <= addr);
        let before = describe(image, self.frames.get(i.checked_sub(1)?)?.1)?;
        let behind = self.frames.get(i)?.0;
        (before.end <= addr && !before.signal).then_some((before.start, behind))
    }

    /// The first start above `addr`.
    pub(super) fn next_after(&self, addr: u64) -> Option<u64> {
        self.frames.get(self.frames.partition_point(|f| f.0 <= addr)).map(|f| f.0)
    }

    /// All descriptions that can be read.
    pub(super) fn frames(&self, image: &Image) -> impl Iterator<Item = Frame> {
        let mut common = None;
        self.frames.iter().filter_map(move |f| describe_with(image, f.1, &mut common))
    }

    /// All starts, ascending.
    pub(super) fn starts(&self) -> impl Iterator<Item = u64> {
        self.frames.iter().map(|f| f.0)
    }
}

/// The binary search table of `.eh_frame_hdr`, in the one form that linkers write.
fn index(image: &Image, at: u64) -> Option<Vec<(u64, u64)>> {
    let mut c = Cursor { image, at };
    let [version, frames, count, table] = c.bytes::<4>()?;
    // 4-byte offsets from the header itself, and a 4-byte count.
    if (version, count, table) != (1, 0x03, 0x3b) {
        return None;
    }
    c.encoded(frames, at)?;
    let n = u32::from_le_bytes(c.bytes()?) as usize;
    let table = image.at(c.at).get(..n.checked_mul(8)?)?;
    let word = |b: &[u8]| i32::from_le_bytes(b.try_into().expect("4 bytes"));
    let entry = |e: &[u8]| {
        (at.wrapping_add_signed(word(&e[..4]).into()), at.wrapping_add_signed(word(&e[4..]).into()))
    };
    let frames: Vec<_> = table.chunks_exact(8).map(entry).collect();
    frames.is_sorted_by_key(|f| f.0).then_some(frames)
}

/// Static programs have no index: read `.eh_frame` from one end to the other.
fn walk(image: &Image) -> Option<Vec<(u64, u64)>> {
    let range = image.eh_frame.clone()?;
    let mut frames = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let mut c = Cursor { image, at };
        let len = u32::from_le_bytes(c.bytes()?);
        if len == 0 || len == u32::MAX {
            break;
        }
        let next = c.at + u64::from(len);
        if u32::from_le_bytes(c.bytes()?) != 0 {
            frames.push((describe(image, at)?.start, at));
        }
        at = next;
    }
    frames.sort_unstable();
    Some(frames)
}

/// Reads a frame description (FDE) and what it needs of its common part (CIE).
fn describe(image: &Image, at: u64) -> Option<Frame> {
    describe_with(image, at, &mut None)
}

/// The same for many: neighbours mostly have their common part in common.
fn describe_with(image: &Image, at: u64, last: &mut Option<(u64, Common)>) -> Option<Frame> {
    let mut c = Cursor { image, at };
    let len = u32::from_le_bytes(c.bytes()?);
    let back_from = c.at;
    let back = u32::from_le_bytes(c.bytes()?);
    if len < 4 || len == u32::MAX || back == 0 {
        return None;
    }
    let common_at = back_from.checked_sub(back.into())?;
    let common = match *last {
        Some((known, common)) if known == common_at => common,
        _ => Common::read(image, common_at)?,
    };
    *last = Some((common_at, common));
    let start = c.encoded(common.pointers, 0)?;
    let size = c.encoded(common.pointers & 0x0f, 0)?;
    let mut lsda = None;
    if common.augmented {
        let extra = c.uleb()?;
        if common.lsda != OMIT && extra > 0 {
            // Null means none, whatever it is relative to.
            let null = Cursor { image, at: c.at }.encoded(common.lsda & 0x0f, 0)? == 0;
            lsda = (!null).then_some(c.encoded(common.lsda, 0)?);
        }
    }
    let end = start.checked_add(size)?;
    (size > 0).then_some(Frame { start, end, lsda, signal: common.signal })
}

#[derive(Clone, Copy)]
struct Common {
    pointers: u8,
    lsda: u8,
    augmented: bool,
    signal: bool,
}

impl Common {
    fn read(image: &Image, at: u64) -> Option<Common> {
        let mut c = Cursor { image, at };
        let (len, id) = (u32::from_le_bytes(c.bytes()?), u32::from_le_bytes(c.bytes()?));
        let [version] = c.bytes()?;
        if len == u32::MAX || id != 0 || !matches!(version, 1 | 3) {
            return None;
        }
        let text = image.at(c.at);
        let text = &text[..text.iter().take(16).position(|&b| b == 0)?];
        c.at += text.len() as u64 + 1;
        c.uleb()?; // code alignment
        c.uleb()?; // data alignment, signed, but only its length matters here
        if version == 1 {
            c.bytes::<1>()?;
        } else {
            c.uleb()?; // return address register
        }
        let mut common = Common { pointers: 0, lsda: OMIT, augmented: false, signal: false };
        let Some((b'z', letters)) = text.split_first().map(|(a, b)| (*a, b)) else {
            return text.is_empty().then_some(common);
        };
        common.augmented = true;
        c.uleb()?;
        for letter in letters {
            match letter {
                b'R' => [common.pointers] = c.bytes()?,
                b'L' => [common.lsda] = c.bytes()?,
                b'P' => {
                    let [form] = c.bytes()?;
                    c.encoded(form & 0x7f, 0)?;
                }
                b'S' => common.signal = true,
                _ => return None,
            }
        }
        Some(common)
    }
}

impl Frame {
    /// Every address at which an exception may resume. `None` if the table is not of a known form, or
    /// if `budget`, which counts records down, is used up.
    pub(super) fn landing_pads(&self, image: &Image, budget: &mut usize) -> Option<Vec<u64>> {
        let mut pads = Vec::new();
        let Some(at) = self.lsda else { return Some(pads) };
        let mut c = Cursor { image, at };
        let [base_form] = c.bytes()?;
        let base = if base_form == OMIT { self.start } else { c.encoded(base_form, 0)? };
        let [types_form] = c.bytes()?;
        if types_form != OMIT {
            c.uleb()?;
        }
        let [form] = c.bytes()?;
        let end = c.uleb()?.checked_add(c.at)?;
        while c.at < end {
            *budget = budget.checked_sub(1)?;
            c.encoded(form, 0)?;
            c.encoded(form, 0)?;
            let pad = c.encoded(form, 0)?;
            c.uleb()?;
            pads.extend((pad != 0).then(|| base.wrapping_add(pad)));
        }
        Some(pads)
    }
}

/// Reads forward through loaded memory.
struct Cursor<'a, 'b> {
    image: &'a Image<'b>,
    at: u64,
}

impl Cursor<'_, '_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let b = self.image.at(self.at).get(..N)?;
        self.at += N as u64;
        b.try_into().ok()
    }

    fn uleb(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let [b] = self.bytes()?;
            value |= u64::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A pointer in one of the DW_EH_PE forms; `data` is what data-relative ones are relative to.
    fn encoded(&mut self, form: u8, data: u64) -> Option<u64> {
        let here = self.at;
        let value = match form & 0x0f {
            0x00 | 0x04 | 0x0c => u64::from_le_bytes(self.bytes()?),
            0x01 => self.uleb()?,
            0x02 => u16::from_le_bytes(self.bytes()?).into(),
            0x03 => u32::from_le_bytes(self.bytes()?).into(),
            0x0a => i64::from(i16::from_le_bytes(self.bytes()?)) as u64,
            0x0b => i64::from(i32::from_le_bytes(self.bytes()?)) as u64,
            _ => return None,
        };
        let base = match form & 0xf0 {
            0x00 => 0,
            0x10 => here,
            0x30 => data,
            _ => return None, // indirect, or relative to something unknown
        };
        Some(value.wrapping_add(base))
    }
}
