//! Randomness: the host's, or, for runs that must repeat, a seeded generator. One door: every random
//! byte of the kernel and of its guests comes through [`fill`].

use std::sync::Mutex;

use base::Result;

use crate::hosterr::{cvt_len, host_error};

static SEEDED: Mutex<Option<Xoshiro>> = Mutex::new(None);
/// Requests of so many bytes and fewer are served from the store.
const SMALL: usize = 16;
static STORE: Mutex<Store> = Mutex::new(Store { bytes: [0; 256], left: 0 });

/// The host's random bytes that nobody has got yet: the first `left`.
struct Store {
    bytes: [u8; 256],
    left: usize,
}

/// xoshiro256** (Blackman, Vigna). Repeatable, and no secret: for tests and replay only.
#[derive(Debug)]
struct Xoshiro([u64; 4]);

impl Xoshiro {
    /// The state from a seed by splitmix64, as its authors advise.
    fn new(mut seed: u64) -> Xoshiro {
        Xoshiro(std::array::from_fn(|_| {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }
    fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }
}

/// From now on the bytes follow from `seed`; None: the host's again.
pub fn set_seed(seed: Option<u64>) {
    *SEEDED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = seed.map(Xoshiro::new);
}

/// Fills `buf` with random bytes.
///
/// # Errors
/// ENOSYS on a host without getrandom(2) (before Linux 3.17).
pub fn fill(buf: &mut [u8]) -> Result<()> {
    let mut seeded = SEEDED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(x) = &mut *seeded {
        for chunk in buf.chunks_mut(8) {
            chunk.copy_from_slice(&x.next().to_le_bytes()[..chunk.len()]);
        }
        return Ok(());
    }
    drop(seeded);
    if buf.len() > SMALL {
        return from_host(buf);
    }
    // An exec wants five small pieces: one host call does for sixteen of them.
    let mut store = STORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if store.left < buf.len() {
        from_host(&mut store.bytes)?;
        store.left = store.bytes.len();
    }
    let (start, end) = (store.left - buf.len(), store.left);
    buf.copy_from_slice(&store.bytes[start..end]);
    store.bytes[start..end].fill(0); // what was given out is nowhere else
    store.left = start;
    Ok(())
}

fn from_host(buf: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < buf.len() {
        let rest = &mut buf[done..];
        // SAFETY: writes at most `rest.len()` bytes there.
        match cvt_len(unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) }) {
            Ok(n) => done += n,
            Err(e) if e == base::Errno::EINTR => {}
            Err(_) => return Err(host_error(nix::errno::Errno::last())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_and_repeatable() {
        let get = || {
            let mut b = [0u8; 77];
            fill(&mut b).expect("random");
            b
        };
        assert_ne!(get(), get());
        set_seed(Some(1));
        let (a, b) = (get(), get());
        assert_ne!(a, b);
        set_seed(Some(1));
        assert_eq!((get(), get()), (a, b));
        set_seed(None);
        assert_ne!(get(), a);
        // The reference sequence for the state 1, 2, 3, 4.
        let mut x = Xoshiro([1, 2, 3, 4]);
        assert_eq!([x.next(), x.next(), x.next()], [11520, 0, 1_509_978_240]);
    }
}
