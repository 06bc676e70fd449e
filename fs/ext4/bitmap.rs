//! Searching bitmaps by 64-bit words. Bit `n` is bit `n % 8` of byte `n / 8`, as on disk.

fn word(b: &[u8], w: usize) -> u64 {
    let mut x = [0xff; 8];
    let at = w * 8;
    if let Some(s) = b.get(at..b.len().min(at + 8)) {
        x[..s.len()].copy_from_slice(s);
    }
    u64::from_le_bytes(x)
}

fn find(b: &[u8], from: usize, end: usize, flip: u64) -> usize {
    let mut at = from;
    while at < end {
        let w = (word(b, at / 64) ^ flip) >> (at % 64);
        if w != 0 {
            return (at + w.trailing_zeros() as usize).min(end);
        }
        at = (at / 64 + 1) * 64;
    }
    end
}

/// The first clear bit in `from..end`, or `end`.
pub(super) fn next_zero(b: &[u8], from: usize, end: usize) -> usize {
    find(b, from, end, !0)
}
/// The first set bit in `from..end`, or `end`.
pub(super) fn next_set(b: &[u8], from: usize, end: usize) -> usize {
    find(b, from, end, 0)
}
/// Whether bit `n` is set.
pub(super) fn test(b: &[u8], n: usize) -> bool {
    b.get(n / 8).is_none_or(|x| x & (1 << (n % 8)) != 0)
}
/// Sets or clears bits `from..end`.
pub(super) fn fill(b: &mut [u8], from: usize, end: usize, on: bool) {
    let mut at = from;
    while at < end {
        if at.is_multiple_of(8) && end - at >= 8 {
            let last = end / 8;
            if let Some(s) = b.get_mut(at / 8..last) {
                s.fill(if on { 0xff } else { 0 });
            }
            at = last * 8;
            continue;
        }
        if let Some(x) = b.get_mut(at / 8) {
            let m = 1 << (at % 8);
            if on { *x |= m } else { *x &= !m }
        }
        at += 1;
    }
}
/// How many of the first `end` bits are clear.
pub(super) fn count_zero(b: &[u8], end: usize) -> u32 {
    let mut n = 0;
    for w in 0..end.div_ceil(64) {
        let mut x = !word(b, w);
        if (w + 1) * 64 > end {
            x &= (1u64 << (end % 64)) - 1;
        }
        n += x.count_ones();
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_across_words() {
        let mut b = vec![0u8; 32];
        fill(&mut b, 3, 200, true);
        assert_eq!(next_zero(&b, 3, 256), 200);
        assert_eq!(next_set(&b, 0, 256), 3);
        assert_eq!(next_set(&b, 200, 256), 256);
        assert_eq!(count_zero(&b, 256), 59);
        assert_eq!(count_zero(&b, 201), 4);
        fill(&mut b, 60, 70, false);
        assert_eq!((next_zero(&b, 3, 256), next_set(&b, 60, 256)), (60, 70));
        assert!(test(&b, 59) && !test(&b, 60));
    }
}
