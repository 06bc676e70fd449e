//! Boot: from parameters to a running system.
//!
//! The order matters. First what concerns the host process as a whole (signals, panics, the log); then
//! devices, whose errors are the user's and come early; the machine and memory; the file systems; the
//! first process; last the filter that forbids everything else. Every failure is one line.

mod devices;
mod init;
mod machine;
mod root;
mod stdio;

use std::sync::{OnceLock, Weak};

use base::Instant;

use crate::config::Config;
use crate::kernel::{Kernel, Parts};
use crate::shutdown::Fate;
use crate::{logging, shutdown, tracing};

/// Exit status when the system could not be booted.
const FAILED: i32 = 1;

/// For the panic report: the kernel, once there is one.
static THE_KERNEL: OnceLock<Weak<Kernel>> = OnceLock::new();

/// Boots, runs until the end, and returns Umbra's exit status.
pub fn boot(config: Config) -> i32 {
    let started = arch::clock::monotonic();
    let status = match run(config, started) {
        Ok(status) => status,
        Err(line) => {
            arch::hosttty::restore();
            logging::set_raw(false);
            eprintln!("umbra: {line}");
            FAILED
        }
    };
    arch::intr::shutdown();
    status
}

fn run(config: Config, started: Instant) -> Result<i32, String> {
    arch::intr::block_signals().map_err(|e| format!("host signals: {}", e.errno().text()))?;
    arch::panic::install(Box::new(report));
    arch::cpu::install_fault_handler();
    let log = logging::init(config.console_level());
    base::wait::set_host_clock(arch::clock::monotonic);
    base::wait::set_scheduler(&crate::sched::CurrentTask);
    if config.seed.is_some() {
        arch::random::set_seed(config.seed);
    }
    log::info!("Linux version {} (umbra) {}", crate::RELEASE, crate::VERSION);
    log::info!("Command line: {}", config.cmdline);

    let phys = machine::physical_memory(&config)?;
    let devices = devices::set_up(&config, &phys, &log)?;
    let machine = machine::start(phys)?;
    let memory = machine::memory(machine.clone(), &config);
    let vfs = root::file_systems(&memory, &devices);
    let vdso = crate::vdso::Vdso::new(&memory, config.cpus)
        .map_err(|e| format!("no memory for the vDSO: {}", e.errno().text()))?;
    let kernel = Kernel::new(Parts {
        config,
        machine,
        memory,
        vfs,
        vdso,
        log,
        consoles: devices.consoles.clone(),
        started,
    });
    let _ = THE_KERNEL.set(std::sync::Arc::downgrade(&kernel));
    devices.signals.connect(&kernel);
    let weak = std::sync::Arc::downgrade(&kernel);
    kernel.memory.set_oom(Box::new(move || {
        if let Some(k) = weak.upgrade() {
            crate::oom::kill_largest(&k);
        }
    }));

    let fs = root::mount(&kernel)?;
    init::create(&kernel, fs)?;
    init::kernel_threads(&kernel)?;
    host_signals(&kernel)?;
    if let Some(trace) = &kernel.config.trace {
        tracing::install(trace, started.0)?;
    }
    if kernel.config.lockdown
        && let Err(e) = arch::lockdown::install()
    {
        log::warn!("this host filters no system calls of the kernel process: {}", e.errno().text());
    }
    log::info!("booted in {} us", kernel.uptime().as_micros());

    let k = kernel.clone();
    kernel.sched.run(move || k.idle_work());

    let status = kernel.finish();
    if kernel.life.fate() == Some(Fate::Restart) {
        return Err(if kernel.config.lockdown {
            "restart: the kernel process is locked down; start Umbra again, or boot with lockdown=off"
                .to_owned()
        } else {
            arch::intr::shutdown();
            shutdown::restart()
        });
    }
    if let Some(line) = kernel.life.failure() {
        eprintln!("umbra: {line}");
    }
    Ok(status)
}

/// Host signals that end Umbra in order: everything is written back first.
fn host_signals(kernel: &std::sync::Arc<Kernel>) -> Result<(), String> {
    const HUP: i32 = 1;
    const INT: i32 = 2;
    const QUIT: i32 = 3;
    const TERM: i32 = 15;
    for signo in [HUP, INT, QUIT, TERM] {
        let weak = std::sync::Arc::downgrade(kernel);
        arch::intr::on_signal(signo, move || {
            if let Some(k) = weak.upgrade() {
                k.host_signal(signo);
            }
        })
        .map_err(|e| format!("host signals: {}", e.errno().text()))?;
    }
    Ok(())
}

/// What a kernel panic says below its backtrace. Locks may be held by the code that panicked: only tried.
fn report(out: &mut String) {
    if let Some(k) = THE_KERNEL.get().and_then(Weak::upgrade)
        && let Some(tree) = k.tree.try_lock()
    {
        out.push_str("processes:\n");
        for n in tree.nodes() {
            let p = &n.process;
            let Some(s) = p.state.try_lock() else { continue };
            out.push_str(&format!("  {} (parent {}):", p.pid, n.parent));
            for t in &s.threads {
                let nr = t.in_syscall.load(std::sync::atomic::Ordering::Relaxed);
                let call = crate::syscall::table::find(u64::from(nr)).map_or("user", |e| e.name);
                out.push_str(&format!(" {}/{call}", t.tid()));
            }
            out.push('\n');
        }
    }
    tracing::last_events(out);
}
