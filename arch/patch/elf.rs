//! What the analysis reads of an ELF file: where its code and its data are, where functions begin,
//! and who says so. The file is the guest's and may lie: every offset is checked, and a lie makes
//! at worst a site that is not found or a guest that is broken by its own file.

use std::ops::Range;

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{EM_X86_64, ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PF_X, PT_GNU_EH_FRAME, PT_LOAD};
use goblin::elf::section_header::{
    SHF_ALLOC, SHF_EXECINSTR, SHT_DYNSYM, SHT_FINI_ARRAY, SHT_INIT_ARRAY, SHT_NOBITS,
    SHT_PREINIT_ARRAY, SHT_PROGBITS, SHT_SYMTAB,
};
use goblin::elf::{Elf, ProgramHeader, SectionHeader};

use super::NotPatchable;

/// The part of a PT_LOAD segment that comes from the file.
struct Load {
    addr: u64,
    offset: usize,
    len: usize,
    exec: bool,
}

/// A symbol that names a place in code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    pub(super) addr: u64,
    /// 0: a label, which says where something begins but not where it ends.
    pub(super) size: u64,
}

/// An ELF64 x86-64 file, by link-time addresses.
pub(super) struct Image<'a> {
    bytes: &'a [u8],
    loads: Vec<Load>,
    /// Not position independent: addresses may be immediates in code.
    pub(super) absolute: bool,
    pub(super) entry: u64,
    /// The first page behind all segments, with what is zero and not in the file.
    pub(super) end: u64,
    /// Executable bytes, ascending: executable sections, or whole segments if there are no sections.
    pub(super) code: Vec<Range<u64>>,
    /// All other loaded bytes, ascending.
    pub(super) data: Vec<Range<u64>>,
    /// What of the data is a table of a form known here: unwind information, symbols, relocations.
    pub(super) tables: Vec<Range<u64>>,
    /// PT_GNU_EH_FRAME, the sorted index of unwind information.
    pub(super) unwind_index: Option<u64>,
    /// `.eh_frame`, if a section header names it.
    pub(super) eh_frame: Option<Range<u64>>,
    symbols: Vec<Range<usize>>,
}

impl<'a> Image<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Image<'a>, NotPatchable> {
        if bytes.len() < 64 || bytes[..6] != *b"\x7fELF\x02\x01" {
            return Err(NotPatchable::Format);
        }
        let head = Elf::parse_header(bytes).map_err(|_| NotPatchable::Format)?;
        if head.e_machine != EM_X86_64 || !matches!(head.e_type, ET_EXEC | ET_DYN) {
            return Err(NotPatchable::Format);
        }
        let ctx = Ctx::new(Container::Big, Endian::Little);
        let program = ProgramHeader::parse(bytes, head.e_phoff as usize, head.e_phnum.into(), ctx)
            .map_err(|_| NotPatchable::Headers)?;
        // Section headers only refine what the segments say; a file without them is a file.
        let sections = SectionHeader::parse(bytes, head.e_shoff as usize, head.e_shnum.into(), ctx)
            .unwrap_or_default();
        let mut image = Image {
            bytes,
            loads: Vec::new(),
            absolute: head.e_type == ET_EXEC,
            entry: head.e_entry,
            end: 0,
            code: Vec::new(),
            data: Vec::new(),
            tables: Vec::new(),
            unwind_index: None,
            eh_frame: None,
            symbols: Vec::new(),
        };
        for p in &program {
            let range = checked(p.p_offset, p.p_filesz, bytes.len());
            match (p.p_type, range) {
                (PT_LOAD, Some(r)) if p.p_vaddr < 1 << 47 && p.p_memsz < 1 << 47 => {
                    image.end = image.end.max((p.p_vaddr + p.p_memsz).next_multiple_of(4096));
                    let exec = p.p_flags & PF_X != 0;
                    image.loads.push(Load { addr: p.p_vaddr, offset: r.start, len: r.len(), exec });
                }
                (PT_LOAD, _) => return Err(NotPatchable::Headers),
                (PT_GNU_EH_FRAME, _) => {
                    image.unwind_index = Some(p.p_vaddr);
                    image.tables.push(p.p_vaddr..p.p_vaddr.saturating_add(p.p_filesz));
                }
                _ => {}
            }
        }
        image.loads.sort_by_key(|l| l.addr);
        // Displacements have 32 bits, and no linker writes dozens of segments. (Without bounds here a
        // file could make the analysis take memory and time beyond its own size.)
        let overlap = image.loads.windows(2).any(|w| w[0].end() > w[1].addr);
        if overlap || image.span() > 1 << 31 || image.loads.len() > 64 {
            return Err(NotPatchable::Headers);
        }
        image.take_sections(&sections, head.e_shstrndx.into());
        Ok(image)
    }

    fn take_sections(&mut self, sections: &[SectionHeader], names: usize) {
        let names = sections.get(names);
        let names = names.and_then(|n| checked(n.sh_offset, n.sh_size, self.bytes.len()));
        let names = names.map_or(&[][..], |r| &self.bytes[r]);
        let mut text = Vec::new();
        for s in sections {
            let in_file = s.sh_type != SHT_NOBITS && s.sh_flags & u64::from(SHF_ALLOC) != 0;
            if in_file && s.sh_flags & u64::from(SHF_EXECINSTR) != 0 && s.sh_size != 0 {
                text.push(s.sh_addr..s.sh_addr.saturating_add(s.sh_size));
            }
            if in_file && names.get(s.sh_name..).is_some_and(|n| n.starts_with(b".eh_frame\0")) {
                self.eh_frame = Some(s.sh_addr..s.sh_addr.saturating_add(s.sh_size));
            }
            let plain = matches!(
                s.sh_type,
                SHT_PROGBITS | SHT_INIT_ARRAY | SHT_FINI_ARRAY | SHT_PREINIT_ARRAY
            );
            if in_file && !plain {
                self.tables.push(s.sh_addr..s.sh_addr.saturating_add(s.sh_size));
            }
            if let (SHT_SYMTAB | SHT_DYNSYM, Some(r)) =
                (s.sh_type, checked(s.sh_offset, s.sh_size, self.bytes.len()))
            {
                self.symbols.push(r);
            }
        }
        // So many sections of code have no sense: take the segments.
        if text.len() > 1024 {
            text.clear();
        }
        text.sort_by_key(|r| r.start);
        self.tables.extend(self.eh_frame.clone());
        self.tables.sort_by_key(|r| r.start);
        for load in &self.loads {
            let mut from = load.addr;
            if load.exec && text.is_empty() {
                self.code.push(from..load.end());
                continue;
            }
            for t in text.iter().filter(|_| load.exec) {
                let (start, end) = (t.start.max(from), t.end.min(load.end()));
                if start < end {
                    self.data.extend((from < start).then_some(from..start));
                    self.code.push(start..end);
                    from = end;
                }
            }
            self.data.extend((from < load.end()).then_some(from..load.end()));
        }
    }

    /// The loaded bytes from `addr` to the end of its segment's part of the file; empty if there are none.
    pub(super) fn at(&self, addr: u64) -> &'a [u8] {
        let i = self.loads.partition_point(|l| l.addr <= addr);
        let Some(load) = i.checked_sub(1).map(|i| &self.loads[i]) else { return &[] };
        let skip = (addr - load.addr).min(load.len as u64) as usize;
        &self.bytes[load.offset + skip..load.offset + load.len]
    }

    /// Exactly these bytes, if all are loaded from the file.
    pub(super) fn range(&self, r: &Range<u64>) -> Option<&'a [u8]> {
        self.at(r.start).get(..usize::try_from(r.end.checked_sub(r.start)?).ok()?)
    }

    /// Whether `addr` is in executable bytes.
    pub(super) fn in_code(&self, addr: u64) -> bool {
        contains(&self.code, addr)
    }

    /// The executable segments: offset in the file, address, length.
    pub(super) fn text(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let exec = self.loads.iter().filter(|l| l.exec);
        exec.map(|l| (l.offset as u64, l.addr, l.len as u64))
    }

    /// The lowest loaded address, rounded down to a page: what a load bias is relative to.
    pub(super) fn base(&self) -> u64 {
        self.loads.first().map_or(0, |l| l.addr & !0xfff)
    }

    /// From the first loaded byte to the last one.
    pub(super) fn span(&self) -> u64 {
        self.loads.last().map_or(0, |l| l.end() - self.loads[0].addr)
    }

    /// Every symbol in code, in no order: functions, and the labels of hand-written assembly.
    pub(super) fn symbols(&self) -> impl Iterator<Item = Symbol> {
        const FUNC: u8 = 2;
        const IFUNC: u8 = 10;
        let entries = self.symbols.iter().flat_map(|r| self.bytes[r.clone()].chunks_exact(24));
        entries.filter_map(|s| {
            let word = |at: usize| u64::from_le_bytes(s[at..at + 8].try_into().expect("8 bytes"));
            let (kind, section) = (s[4] & 15, u16::from_le_bytes([s[6], s[7]]));
            // NOTYPE names labels; sections, files, objects and thread-local storage are no code.
            let named = section != 0 && matches!(kind, 0 | FUNC | IFUNC);
            let size = if kind == 0 { 0 } else { word(16) };
            (named && self.in_code(word(8))).then(|| Symbol { addr: word(8), size })
        })
    }
}

impl Load {
    fn end(&self) -> u64 {
        self.addr + self.len as u64
    }
}

/// `offset..offset + len` if that is inside the file.
fn checked(offset: u64, len: u64, file: usize) -> Option<Range<usize>> {
    let (start, end) = (usize::try_from(offset).ok()?, offset.checked_add(len)?);
    (end <= file as u64).then_some(start..end as usize)
}

/// Whether one of the ascending `ranges` holds `addr`.
pub(super) fn contains(ranges: &[Range<u64>], addr: u64) -> bool {
    let i = ranges.partition_point(|r| r.start <= addr);
    i > 0 && addr < ranges[i - 1].end
}
