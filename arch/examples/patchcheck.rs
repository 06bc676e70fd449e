//! The proof of arch::patch over whole directories:
//! `cargo run --release -p umbra-arch --example patchcheck -- [-v] [-n] PATHS...`.
//!
//! Analyses, patches and verifies every ELF64 x86-64 program and library below the paths, and
//! prints what was found and what was refused. `-v` lists every site that was refused, `-n` leaves out the
//! verification (for profiles of the analysis). Exit status 1 if a single file does not verify.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arch::patch::{Analysis, Reason, verify};

/// As the stub's entry would be: at the top of the address space.
const ENTRY: u64 = 0x7fff_0000_0b00;

#[derive(Default)]
struct Totals {
    verbose: bool,
    no_proof: bool,
    files: usize,
    with_sites: usize,
    bytes: u64,
    sites: usize,
    coincidences: usize,
    refused: BTreeMap<Reason, usize>,
    failures: usize,
    instructions: usize,
    references: usize,
    analysis: Duration,
    times: Vec<(Duration, u64, PathBuf)>,
}

fn main() -> ExitCode {
    let (mut paths, mut totals) = (Vec::new(), Totals::default());
    for arg in std::env::args_os().skip(1) {
        match arg.to_str() {
            Some("-v") => totals.verbose = true,
            Some("-n") => totals.no_proof = true,
            _ => paths.push(PathBuf::from(arg)),
        }
    }
    if paths.is_empty() {
        eprintln!("usage: patchcheck [-v] [-n] PATHS...");
        return ExitCode::from(2);
    }
    while let Some(path) = paths.pop() {
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.is_dir() {
            match path.read_dir() {
                Ok(dir) => paths.extend(dir.flatten().map(|e| e.path())),
                Err(e) => eprintln!("{}: {e}", path.display()),
            }
        } else if meta.is_file() {
            check(&path, &mut totals);
        }
    }
    report(totals)
}

fn check(path: &Path, t: &mut Totals) {
    use std::io::Read;
    let Ok(mut file) = std::fs::File::open(path) else { return };
    let mut head = [0; 20];
    if file.read_exact(&mut head).is_err() || head[..6] != *b"\x7fELF\x02\x01" {
        return;
    }
    let Ok(bytes) = std::fs::read(path) else { return };
    let from = Instant::now();
    let Ok(analysis) = Analysis::of(&bytes) else { return };
    let (patch, far) = match analysis.patch(&bytes, analysis.end(), ENTRY) {
        Ok(built) => built,
        Err(e) => {
            println!("FAILED {}: {e}", path.display());
            t.failures += 1;
            return;
        }
    };
    let took = from.elapsed();
    t.files += 1;
    t.bytes += bytes.len() as u64;
    t.analysis += took;
    t.times.push((took, bytes.len() as u64, path.to_path_buf()));
    t.sites += patch.sites.len();
    t.with_sites += usize::from(!patch.sites.is_empty());
    t.coincidences += analysis.coincidences();
    for r in analysis.refused().iter().chain(&far) {
        *t.refused.entry(r.reason).or_default() += 1;
        if t.verbose {
            println!("{}: {:#x}: {:?}", path.display(), r.addr, r.reason);
        }
    }
    if t.verbose {
        let refused = analysis.refused().len() + far.len();
        println!(
            "{}: {} patched, {refused} refused, {} bytes of trampolines, {took:.1?}",
            path.display(),
            patch.sites.len(),
            patch.code.len()
        );
    }
    if t.no_proof {
        return;
    }
    match verify(&bytes, &patch, ENTRY) {
        Ok(v) => {
            t.instructions += v.instructions;
            t.references += v.references;
        }
        Err(e) => {
            println!("FAILED {}: {e}", path.display());
            t.failures += 1;
        }
    }
}

fn report(mut t: Totals) -> ExitCode {
    let refused: usize = t.refused.values().sum();
    println!("files               {:>9}  ({} MB)", t.files, t.bytes >> 20);
    println!("files with sites    {:>9}", t.with_sites);
    println!("syscall             {:>9}", t.sites + refused);
    println!("  patched           {:>9}", t.sites);
    println!("  refused           {refused:>9}");
    for (reason, n) in &t.refused {
        println!("    {:<16}{n:>9}", format!("{reason:?}"));
    }
    println!("0f 05 within others {:>9}", t.coincidences);
    println!("verified            {:>9} instructions, {} references", t.instructions, t.references);
    println!("analysis            {:>9.1?} in all", t.analysis);
    t.times.sort();
    let names = ["libc.so.6", "ld-linux-x86-64.so.2", "libpthread.so.0", "busybox"];
    let named = |p: &Path| p.file_name().is_some_and(|f| names.iter().any(|n| f == *n));
    for (took, len, path) in t.times.iter().filter(|f| named(&f.2)) {
        println!("  {took:>9.1?}  {:>6} kB  {}", len >> 10, path.display());
    }
    println!("slowest:");
    for (took, len, path) in t.times.iter().rev().take(5) {
        println!("  {took:>9.1?}  {:>6} kB  {}", len >> 10, path.display());
    }
    println!("verify failures     {:>9}", t.failures);
    if t.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
