//! The two checksums of ext4, as functions of a running value that is never inverted here:
//! CRC-32C (Castagnoli, reflected; everything under `metadata_csum`) by the slice-by-8 method, and
//! CRC-16 (polynomial 0x8005, reflected; group descriptors under `gdt_csum`).

const fn table32() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut k = 0;
        while k < 8 {
            c = if c & 1 != 0 { (c >> 1) ^ 0x82f6_3b78 } else { c >> 1 };
            k += 1;
        }
        t[0][i] = c;
        i += 1;
    }
    let mut s = 1;
    while s < 8 {
        let mut i = 0;
        while i < 256 {
            let p = t[s - 1][i];
            t[s][i] = (p >> 8) ^ t[0][(p & 0xff) as usize];
            i += 1;
        }
        s += 1;
    }
    t
}

const fn table16() -> [u16; 256] {
    let mut t = [0u16; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u16;
        let mut k = 0;
        while k < 8 {
            c = if c & 1 != 0 { (c >> 1) ^ 0xa001 } else { c >> 1 };
            k += 1;
        }
        t[i] = c;
        i += 1;
    }
    t
}

static T32: [[u32; 256]; 8] = table32();
static T16: [u16; 256] = table16();

/// CRC-32C of `data`, going on from `crc` (start with `!0`).
pub(super) fn crc32c(mut crc: u32, data: &[u8]) -> u32 {
    let mut chunks = data.chunks_exact(8);
    for c in &mut chunks {
        let lo = crc ^ u32::from_le_bytes([c[0], c[1], c[2], c[3]]);
        crc = T32[7][(lo & 0xff) as usize]
            ^ T32[6][(lo >> 8 & 0xff) as usize]
            ^ T32[5][(lo >> 16 & 0xff) as usize]
            ^ T32[4][(lo >> 24) as usize]
            ^ T32[3][c[4] as usize]
            ^ T32[2][c[5] as usize]
            ^ T32[1][c[6] as usize]
            ^ T32[0][c[7] as usize];
    }
    for &b in chunks.remainder() {
        crc = (crc >> 8) ^ T32[0][((crc ^ u32::from(b)) & 0xff) as usize];
    }
    crc
}

/// CRC-16 of `data`, going on from `crc` (start with `!0`).
pub(super) fn crc16(mut crc: u16, data: &[u8]) -> u16 {
    for &b in data {
        crc = (crc >> 8) ^ T16[((crc ^ u16::from(b)) & 0xff) as usize];
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_the_catalogue() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(crc16(!0, b"123456789"), 0x4b37); // CRC-16/MODBUS
    }
}
