//! A small ELF file for tests: one segment of text, one of data, symbols and unwind information.
//! Also compiled into tests/patched.rs.
#![allow(unreachable_pub, dead_code)]

/// Where the text is.
pub const TEXT: u64 = 0x1000;
/// Where the data is.
pub const DATA: u64 = 0x8000;
/// Where the unwind information is, in the segment of the data.
const FRAMES: u64 = 0x9000;

/// A file to be.
#[derive(Clone, Debug, Default)]
pub struct TestElf {
    /// Bytes at [`TEXT`].
    pub text: Vec<u8>,
    /// Bytes at [`DATA`].
    pub data: Vec<u8>,
    /// (address, size, type): type 2 is a function, 0 a label.
    pub symbols: Vec<(u64, u64, u8)>,
    /// (start, length, table of landing pads or 0, signal frame).
    pub frames: Vec<(u64, u32, u64, bool)>,
    /// At a fixed address instead of position independent.
    pub fixed: bool,
}

impl TestElf {
    /// A file with one function.
    pub fn function(code: &[u8]) -> TestElf {
        let mut elf = TestElf::default();
        elf.add(code);
        elf
    }

    /// Appends a function behind some padding and returns its address.
    pub fn add(&mut self, code: &[u8]) -> u64 {
        let at = TEXT + self.text.len().next_multiple_of(16) as u64;
        self.text.resize((at - TEXT) as usize, 0xcc);
        self.text.extend(code);
        self.symbols.push((at, code.len() as u64, 2));
        at
    }

    /// The unwind information: a common part for each description, which is wasteful and legal.
    fn eh_frame(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for &(start, len, lsda, signal) in &self.frames {
            let common = out.len();
            let letters: &[u8] = if signal { b"zRLS\0" } else { b"zRL\0" };
            let mut body = [&[0, 0, 0, 0, 1], letters, &[1, 0x78, 16, 2, 0x1b, 0x1b]].concat();
            body.resize(body.len().next_multiple_of(4), 0);
            out.extend((body.len() as u32).to_le_bytes());
            out.extend(body);
            let at = out.len();
            let relative = |to: u64, off: usize| (to as i64 - (FRAMES as i64 + off as i64)) as i32;
            out.extend(20u32.to_le_bytes());
            out.extend(((at + 4 - common) as u32).to_le_bytes());
            out.extend(relative(start, at + 8).to_le_bytes());
            out.extend(len.to_le_bytes());
            out.push(4);
            let lsda = if lsda == 0 { 0 } else { relative(lsda, at + 17) };
            out.extend(lsda.to_le_bytes());
            out.extend([0; 3]);
        }
        out.extend([0; 4]);
        out
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let names = b"\0.text\0.rodata\0.eh_frame\0.symtab\0.shstrtab\0";
        let frames = self.eh_frame();
        let mut data = self.data.clone();
        assert!(data.len() as u64 <= FRAMES - DATA);
        data.resize((FRAMES - DATA) as usize, 0);
        data.extend(&frames);
        let mut symtab = vec![0; 24];
        for &(addr, size, kind) in &self.symbols {
            symtab.extend([0, 0, 0, 0, 0x10 | kind, 0, 1, 0]);
            symtab.extend(addr.to_le_bytes());
            symtab.extend(size.to_le_bytes());
        }
        let (text_len, data_len) = (self.text.len() as u64, data.len() as u64);
        let mut file = vec![0; TEXT as usize];
        file.extend(&self.text);
        file.resize(DATA as usize, 0);
        file.extend(&data);
        let symtab_at = file.len() as u64;
        file.extend(&symtab);
        let names_at = file.len() as u64;
        file.extend(names);
        let sections_at = file.len() as u64;
        let frames_len = frames.len() as u64;
        for s in [
            [0; 6],
            [1, 1, 6, TEXT, TEXT, text_len],
            [7, 1, 2, DATA, DATA, FRAMES - DATA],
            [15, 1, 2, FRAMES, FRAMES, frames_len],
            [25, 2, 0, 0, symtab_at, symtab.len() as u64],
            [33, 3, 0, 0, names_at, names.len() as u64],
        ] {
            let [name, kind, flags, addr, offset, size] = s;
            file.extend((name as u32).to_le_bytes());
            file.extend((kind as u32).to_le_bytes());
            for word in [flags, addr, offset, size, 0, 8, 0] {
                file.extend(word.to_le_bytes());
            }
        }
        let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        head.extend([if self.fixed { 2 } else { 3 }, 0, 62, 0, 1, 0, 0, 0]);
        for word in [TEXT, 64, sections_at] {
            head.extend(word.to_le_bytes());
        }
        head.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 6, 0, 5, 0]);
        for (flags, at, len) in [(5u32, TEXT, text_len), (4, DATA, data_len)] {
            head.extend(1u32.to_le_bytes());
            head.extend(flags.to_le_bytes());
            for word in [at, at, at, len, len, 0x1000] {
                head.extend(word.to_le_bytes());
            }
        }
        file[..head.len()].copy_from_slice(&head);
        file
    }
}
