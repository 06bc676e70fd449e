//! ELF files: reading and checking the headers (with goblin), mapping the segments.
//!
//! Nothing in a header is believed: sizes and offsets are checked for overflow and against the
//! address space before anything is mapped. `man 5 elf`.

use std::sync::Arc;

use arch::Prot;
use base::addr::{USER_BOTTOM, USER_TOP};
use base::iobuf::SliceSink;
use base::{Errno, PAGE_SIZE, Result, UserAddr, UserMemory, err};
use fs::File;
use goblin::container::{Container, Ctx as ElfCtx, Endian};
use goblin::elf::header::{EM_X86_64, ET_DYN, ET_EXEC, Header};
use goblin::elf::program_header::{
    PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_PHDR, ProgramHeader,
};
use goblin::elf::{Elf, program_header};
use mm::{AddressSpace, MapFlags, MapRequest};

use super::Program;

const PAGE: u64 = PAGE_SIZE as u64;

/// Reads until `buf` is full or the file ends.
///
/// # Errors
/// EIO and what the file system says.
pub fn read_full(file: &Arc<File>, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        let mut sink = SliceSink::new(&mut buf[done..]);
        match file.read_at(offset + done as u64, &mut sink)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// A checked ELF file.
#[derive(Debug)]
pub struct Image {
    /// Entry point as the file says.
    pub entry: u64,
    /// Loaded at an address of the kernel's choice.
    pub position_independent: bool,
    /// PT_LOAD segments, ascending and without overlap.
    loads: Vec<ProgramHeader>,
    /// Address of the program headers in the image, as the file says.
    pub phdr: u64,
    /// Number of program headers.
    pub phnum: u16,
    /// The interpreter's path.
    pub interp: Option<Vec<u8>>,
    /// Whether PT_GNU_STACK asks for an executable stack.
    pub exec_stack: bool,
}

/// Where an image has come to lie.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// What is added to the file's addresses.
    pub bias: u64,
    /// First and last byte of code.
    pub code: (u64, u64),
    /// First and last byte of data.
    pub data: (u64, u64),
    /// End of the last segment's memory, and of the trampolines.
    pub end: u64,
}

impl Image {
    /// Reads and checks the headers.
    ///
    /// # Errors
    /// ENOEXEC if it is no ELF file for this machine or its headers make no sense; EIO.
    pub fn parse(p: &Program) -> Result<Image> {
        let bad = || base::Error::new(Errno::ENOEXEC);
        if p.head.len() < 64 || &p.head[..4] != b"\x7fELF" || p.head[4] != 2 || p.head[5] != 1 {
            return Err(bad());
        }
        let h: Header = Elf::parse_header(&p.head).map_err(|_| bad())?;
        if h.e_machine != EM_X86_64
            || !matches!(h.e_type, ET_EXEC | ET_DYN)
            || usize::from(h.e_phentsize) != program_header::program_header64::SIZEOF_PHDR
            || h.e_phnum == 0
            || usize::from(h.e_phnum) > PAGE_SIZE * 16 / 56
        {
            return Err(bad());
        }
        let bytes = usize::from(h.e_phnum) * 56;
        let mut table = vec![0; bytes];
        let end = h.e_phoff.checked_add(bytes as u64).ok_or_else(bad)?;
        if end <= p.head.len() as u64 {
            table.copy_from_slice(&p.head[h.e_phoff as usize..end as usize]);
        } else if read_full(&p.file, h.e_phoff, &mut table)? != bytes {
            return Err(bad());
        }
        let ctx = ElfCtx::new(Container::Big, Endian::Little);
        let headers =
            ProgramHeader::parse(&table, 0, usize::from(h.e_phnum), ctx).map_err(|_| bad())?;
        let mut image = Image {
            entry: h.e_entry,
            position_independent: h.e_type == ET_DYN,
            loads: Vec::new(),
            phdr: 0,
            phnum: h.e_phnum,
            interp: None,
            exec_stack: false,
        };
        for ph in headers {
            match ph.p_type {
                PT_LOAD if ph.p_memsz > 0 => image.add_load(ph, h.e_phoff)?,
                PT_INTERP if image.interp.is_none() => {
                    if ph.p_filesz < 2 || ph.p_filesz > base::limits::PATH_MAX as u64 {
                        return Err(bad());
                    }
                    let mut name = vec![0; ph.p_filesz as usize];
                    if read_full(&p.file, ph.p_offset, &mut name)? != name.len()
                        || name.pop() != Some(0)
                    {
                        return Err(bad());
                    }
                    image.interp = Some(name);
                }
                PT_PHDR => image.phdr = ph.p_vaddr,
                PT_GNU_STACK => image.exec_stack = ph.p_flags & PF_X != 0,
                _ => {}
            }
        }
        if image.loads.is_empty() {
            return Err(bad());
        }
        Ok(image)
    }

    fn add_load(&mut self, ph: ProgramHeader, phoff: u64) -> Result<()> {
        let end = ph.p_vaddr.checked_add(ph.p_memsz);
        let ok = ph.p_filesz <= ph.p_memsz
            && end.is_some_and(|e| e <= USER_TOP)
            && ph.p_offset.checked_add(ph.p_filesz).is_some_and(|e| e <= i64::MAX as u64)
            && ph.p_vaddr % PAGE == ph.p_offset % PAGE
            && self.loads.last().is_none_or(|l| l.p_vaddr + l.p_memsz <= ph.p_vaddr);
        if !ok {
            return err(Errno::ENOEXEC);
        }
        if self.phdr == 0 && ph.p_offset <= phoff && phoff < ph.p_offset + ph.p_filesz {
            self.phdr = ph.p_vaddr + (phoff - ph.p_offset);
        }
        self.loads.push(ph);
        Ok(())
    }

    fn lowest(&self) -> u64 {
        self.loads.first().map_or(0, |l| l.p_vaddr & !(PAGE - 1))
    }
    fn highest(&self) -> u64 {
        self.loads.last().map_or(0, |l| l.p_vaddr + l.p_memsz)
    }

    /// Bytes from the first page to the end of the last.
    pub fn span(&self) -> u64 {
        (self.highest() - self.lowest()).div_ceil(PAGE) * PAGE
    }

    /// The alignment that the segments ask for.
    fn align(&self) -> u64 {
        self.loads
            .iter()
            .map(|l| l.p_align)
            .filter(|a| a.is_power_of_two() && *a <= 1 << 30)
            .fold(PAGE, u64::max)
    }

    /// Maps the segments; behind them the file's trampolines may come to lie (`mm::patch_map`). A position independent image goes to `base` (null: where there is room).
    ///
    /// # Errors
    /// ENOMEM; EINVAL or EPERM for addresses that cannot be mapped.
    pub fn map(&self, mm: &Arc<AddressSpace>, file: &Arc<File>, base: UserAddr) -> Result<Placed> {
        let object = file.ops.mappable(file)?;
        let room = mm.patch_room(&object);
        let bias = if self.position_independent {
            // Reserve the whole span first, so that the segments stay together.
            let align = self.align();
            let fixed = if base.is_null() { MapFlags::empty() } else { MapFlags::FIXED_NOREPLACE };
            let span = self.span() + room;
            let len = if base.is_null() { span + (align - PAGE) } else { span };
            let wish = UserAddr(base.0.div_ceil(align) * align);
            let at = mm.map(MapRequest {
                addr: wish,
                flags: fixed | MapFlags::NORESERVE,
                max_prot: Prot::all(),
                ..MapRequest::anonymous(len, Prot::empty())
            })?;
            mm.unmap(at, len)?;
            (at.0.div_ceil(align) * align).wrapping_sub(self.lowest())
        } else {
            if self.lowest() < USER_BOTTOM {
                return err(Errno::EPERM);
            }
            0
        };
        let mut placed = Placed { bias, code: (u64::MAX, 0), data: (0, 0), end: 0 };
        for l in &self.loads {
            let prot = prot_of(l.p_flags);
            let start = bias.wrapping_add(l.p_vaddr);
            let page = start & !(PAGE - 1);
            let in_page = start - page;
            if l.p_filesz > 0 {
                mm.map(MapRequest {
                    addr: UserAddr(page),
                    len: (in_page + l.p_filesz).div_ceil(PAGE) * PAGE,
                    prot,
                    max_prot: Prot::all(),
                    flags: MapFlags::FIXED,
                    object: Some((object.clone(), l.p_offset - in_page)),
                    name: None,
                })?;
            }
            self.map_bss(mm, l, start, prot)?;
            if l.p_flags & PF_X != 0 {
                placed.code.0 = placed.code.0.min(start);
                placed.code.1 = placed.code.1.max(start + l.p_filesz);
            }
            if start >= placed.data.0 {
                placed.data = (start, start + l.p_filesz);
            }
            placed.end = placed.end.max(start + l.p_memsz);
        }
        if room > 0 {
            placed.end = placed.end.next_multiple_of(PAGE) + room; // the heap begins there
        }
        if placed.code.0 == u64::MAX {
            placed.code.0 = 0;
        }
        Ok(placed)
    }

    /// The part of a segment that is not in the file: zeros to the end of the page, then fresh pages.
    fn map_bss(
        &self,
        mm: &Arc<AddressSpace>,
        l: &ProgramHeader,
        start: u64,
        prot: Prot,
    ) -> Result<()> {
        if l.p_memsz == l.p_filesz {
            return Ok(());
        }
        let file_end = start + l.p_filesz;
        let page_end = file_end.div_ceil(PAGE) * PAGE;
        if l.p_filesz > 0 && file_end < page_end && prot.contains(Prot::WRITE) {
            let zeros = [0u8; PAGE_SIZE];
            let n = (page_end - file_end).min(PAGE) as usize;
            mm.write(UserAddr(file_end), &zeros[..n])?;
        }
        let mem_end = (start + l.p_memsz).div_ceil(PAGE) * PAGE;
        let from = if l.p_filesz > 0 { page_end } else { start & !(PAGE - 1) };
        if mem_end > from {
            mm.map(MapRequest {
                addr: UserAddr(from),
                flags: MapFlags::FIXED,
                max_prot: Prot::all(),
                ..MapRequest::anonymous(mem_end - from, prot)
            })?;
        }
        Ok(())
    }
}

fn prot_of(flags: u32) -> Prot {
    let mut p = Prot::empty();
    p.set(Prot::READ, flags & PF_R != 0);
    p.set(Prot::WRITE, flags & PF_W != 0);
    p.set(Prot::EXEC, flags & PF_X != 0);
    p
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
