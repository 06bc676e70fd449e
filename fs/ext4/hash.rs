//! The hashes of directory indexes: legacy, half MD4 and TEA, over signed or unsigned characters
//! (which of the two is a property of the machine that made the file system).

fn words(mut s: &[u8], out: &mut [u32], unsigned: bool) {
    let pad = s.len() as u32 | (s.len() as u32) << 8;
    let pad = pad | pad << 16;
    s = &s[..s.len().min(out.len() * 4)];
    let mut chunks = s.chunks(4);
    for o in out {
        let mut v = pad;
        for &c in chunks.next().unwrap_or(&[]) {
            let c = if unsigned { u32::from(c) } else { c as i8 as u32 };
            v = c.wrapping_add(v << 8);
        }
        *o = v;
    }
}

fn half_md4(buf: &mut [u32; 4], x: &[u32; 8]) {
    const ORDER: [[usize; 8]; 3] =
        [[0, 1, 2, 3, 4, 5, 6, 7], [1, 3, 5, 7, 0, 2, 4, 6], [3, 7, 2, 6, 1, 5, 0, 4]];
    const SHIFT: [[u32; 4]; 3] = [[3, 7, 11, 19], [3, 5, 9, 13], [3, 9, 11, 15]];
    const K: [u32; 3] = [0, 0x5a82_7999, 0x6ed9_eba1];
    let mut r = *buf; // a b c d
    for round in 0..3 {
        for i in 0..8 {
            let [a, b, c, d] = r;
            let f = match round {
                0 => d ^ (b & (c ^ d)),
                1 => (b & c).wrapping_add((b ^ c) & d),
                _ => b ^ c ^ d,
            };
            let v = a.wrapping_add(f).wrapping_add(x[ORDER[round][i]]).wrapping_add(K[round]);
            r = [d, v.rotate_left(SHIFT[round][i % 4]), b, c];
        }
    }
    for (b, v) in buf.iter_mut().zip(r) {
        *b = b.wrapping_add(v);
    }
}

fn tea(buf: &mut [u32; 4], x: &[u32; 4]) {
    let (mut b0, mut b1, mut sum) = (buf[0], buf[1], 0u32);
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        let mix = |v: u32, p: u32, q: u32| {
            (v << 4).wrapping_add(p) ^ v.wrapping_add(sum) ^ (v >> 5).wrapping_add(q)
        };
        b0 = b0.wrapping_add(mix(b1, x[0], x[1]));
        b1 = b1.wrapping_add(mix(b0, x[2], x[3]));
    }
    buf[0] = buf[0].wrapping_add(b0);
    buf[1] = buf[1].wrapping_add(b1);
}

fn legacy(name: &[u8], unsigned: bool) -> u32 {
    let (mut h0, mut h1) = (0x12a3_fe2du32, 0x37ab_e8f9u32);
    for &c in name {
        let c = if unsigned { u32::from(c) } else { c as i8 as u32 };
        let mut h = h1.wrapping_add(h0 ^ c.wrapping_mul(7_152_373));
        if h & 0x8000_0000 != 0 {
            h = h.wrapping_sub(0x7fff_ffff);
        }
        h1 = h0;
        h0 = h;
    }
    h0 << 1
}

/// The hash of a name and its second half. `version`: 0 legacy, 1 half MD4, 2 TEA, plus 3 for
/// unsigned characters.
pub(super) fn dir_hash(name: &[u8], version: u8, seed: &[u32; 4]) -> (u32, u32) {
    let unsigned = version >= 3;
    let mut buf = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    if seed.iter().any(|&s| s != 0) {
        buf = *seed;
    }
    let (hash, minor) = match version % 3 {
        0 => (legacy(name, unsigned), 0),
        1 => {
            let mut x = [0; 8];
            for i in (0..name.len()).step_by(32) {
                words(&name[i..], &mut x, unsigned);
                half_md4(&mut buf, &x);
            }
            (buf[1], buf[2])
        }
        _ => {
            let mut x = [0; 4];
            for i in (0..name.len()).step_by(16) {
                words(&name[i..], &mut x, unsigned);
                tea(&mut buf, &x);
            }
            (buf[0], buf[1])
        }
    };
    let hash = hash & !1;
    (if hash == 0xffff_fffe { 0xffff_fffc } else { hash }, minor)
}
