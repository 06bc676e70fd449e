//! Boot: from parameters to a running system.
//!
//! `Hardware` is what a power switch starts and what outlives a restart: memory, the backend, disks,
//! consoles, the log. Each round of `run` then builds a [`Kernel`] on it. The order matters: first what
//! concerns the host process as a whole (signals, panics), then devices, whose errors are the user's and
//! come early; the machine; the file systems; the first process; and, the first time, the filter that forbids
//! the kernel process everything else. Every failure is one line.

mod devices;
mod init;
mod machine;
mod root;
mod stdio;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use arch::switch::Fiber;
use arch::{Machine, PhysMem};
use base::{Instant, Pfn};
use drivers::KernelLog;

use crate::config::Config;
use crate::kernel::{Kernel, Parts};
use crate::shutdown::Fate;
use crate::{logging, tracing};

/// Exit status when the system could not be booted.
const FAILED: i32 = 1;

/// For the panic report: the kernel, while there is one.
static THE_KERNEL: Mutex<Option<Weak<Kernel>>> = Mutex::new(None);

/// Boots, runs until the end, and returns Umbra's exit status.
pub fn boot(config: Config) -> i32 {
    let started = arch::clock::monotonic();
    let status = run(&config, started);
    tracing::finish();
    arch::hosttty::restore();
    logging::set_raw(false);
    let status = match status {
        Ok(status) => status,
        Err(line) => {
            eprintln!("umbra: {line}");
            FAILED
        }
    };
    arch::intr::shutdown();
    status
}

/// What is there before a kernel runs, and after it.
struct Hardware {
    phys: Arc<PhysMem>,
    machine: Arc<dyn Machine>,
    devices: devices::DeviceSet,
    log: Arc<KernelLog>,
    idle: Arc<Fiber>,
}

impl Hardware {
    fn start(config: &Config) -> Result<Hardware, String> {
        arch::intr::block_signals().map_err(|e| format!("host signals: {}", e.errno().text()))?;
        arch::panic::install(Box::new(report));
        arch::cpu::install_fault_handler();
        let log = logging::init(config.console_level());
        base::wait::set_host_clock(arch::clock::monotonic);
        base::wait::set_scheduler(&crate::sched::CurrentTask);
        if config.seed.is_some() {
            arch::random::set_seed(config.seed);
        }
        let phys = machine::physical_memory(config)?;
        let devices = devices::set_up(config, &phys, &log)?;
        let machine = machine::start(phys.clone(), config)?;
        log::debug!("machine: {}", machine.name());
        Ok(Hardware { phys, machine, devices, log, idle: Arc::new(Fiber::current_thread()) })
    }

    /// As the reset button leaves it: memory is empty, terminals are hung up.
    fn reset(&self) {
        self.phys.discard(Pfn(0), self.phys.pages());
        for (_, c) in &self.devices.consoles {
            c.tty().hangup();
        }
    }
}

fn run(config: &Config, mut started: Instant) -> Result<i32, String> {
    let hardware = Hardware::start(config)?;
    let mut first = true;
    loop {
        let kernel = power_on(config, &hardware, started)?;
        if first {
            first_time(&kernel)?;
        }
        first = false;
        log::info!("booted in {} us", kernel.uptime().as_micros());
        let k = kernel.clone();
        kernel.sched.run(move || k.idle_work());
        let status = kernel.finish();
        if kernel.life.fate() != Some(Fate::Restart) {
            if let Some(line) = kernel.life.failure() {
                return print_failure(&line, status);
            }
            return Ok(status);
        }
        let holders = Arc::strong_count(&kernel);
        if holders > 1 {
            log::debug!("restart: {} references to the old kernel are left", holders - 1);
        }
        drop(kernel);
        hardware.reset();
        started = arch::clock::monotonic();
    }
}

fn print_failure(line: &str, status: i32) -> Result<i32, String> {
    arch::hosttty::restore();
    logging::set_raw(false);
    eprintln!("umbra: {line}");
    Ok(status)
}

/// A kernel with its first process, ready to run.
fn power_on(config: &Config, hw: &Hardware, started: Instant) -> Result<Arc<Kernel>, String> {
    log::info!("Linux version {} (umbra) {}", crate::RELEASE, crate::VERSION);
    log::info!("Command line: {}", config.cmdline);
    let memory = machine::memory(hw.machine.clone(), config);
    let vfs = root::file_systems(&memory, &hw.devices);
    let vdso = crate::vdso::Vdso::new(&memory, config.cpus)
        .map_err(|e| format!("no memory for the vDSO: {}", e.errno().text()))?;
    let kernel = Kernel::new(Parts {
        config: config.clone(),
        machine: hw.machine.clone(),
        memory,
        vfs,
        vdso,
        log: hw.log.clone(),
        consoles: hw.devices.consoles.clone(),
        idle: hw.idle.clone(),
        started,
    });
    *THE_KERNEL.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(&kernel));
    hw.devices.signals.connect(&kernel);
    let weak = Arc::downgrade(&kernel);
    kernel.memory.set_oom(Box::new(move || {
        if let Some(k) = weak.upgrade() {
            crate::oom::kill_largest(&k);
        }
    }));
    let fs = root::mount(&kernel)?;
    kernel.life.keep_mounts(fs.ns());
    init::create(&kernel, &hw.devices.stdio, fs.clone())?;
    init::kernel_threads(&kernel, &fs)?;
    host_signals(&kernel)?;
    Ok(kernel)
}

/// What is done once in the life of the host process.
fn first_time(kernel: &Arc<Kernel>) -> Result<(), String> {
    if let Some(trace) = &kernel.config.trace {
        tracing::install(trace, kernel.boot_instant.0)?;
    }
    if kernel.config.lockdown
        && let Err(e) = arch::lockdown::install()
    {
        log::warn!(
            "this host does not filter the system calls of the kernel process: {}",
            e.errno().text()
        );
    }
    Ok(())
}

/// Host signals that end Umbra in order: everything is written back first.
fn host_signals(kernel: &Arc<Kernel>) -> Result<(), String> {
    const HUP: i32 = 1;
    const INT: i32 = 2;
    const QUIT: i32 = 3;
    const TERM: i32 = 15;
    for signo in [HUP, INT, QUIT, TERM] {
        let weak = Arc::downgrade(kernel);
        let call = move || {
            if let Some(k) = weak.upgrade() {
                k.host_signal(signo);
            }
        };
        arch::intr::on_signal(signo, call)
            .map_err(|e| format!("host signals: {}", e.errno().text()))?;
    }
    Ok(())
}

/// What a kernel panic says below its backtrace. Locks may be held by the code that panicked: only tried.
fn report(out: &mut String) {
    let kernel = THE_KERNEL.try_lock().ok().and_then(|k| k.as_ref().and_then(Weak::upgrade));
    if let Some(k) = kernel
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
