//! Guest memory, the virtual CPU and the backend.

use std::sync::Arc;

use arch::ptrace::PtraceMachine;
use arch::shm::ShmMachine;
use arch::{Machine, PhysMem, ptrace, shm};
use base::Errno;
use mm::Memory;

use crate::config::{Backend, Config, Patch};

/// The host's memory and swap in bytes, if it tells.
fn host_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kb = |key: &str| -> Option<u64> {
        let line = text.lines().find(|l| l.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some((kb("MemTotal:")? + kb("SwapTotal:").unwrap_or(0)) << 10)
}

/// The guest's memory: promised by the host, not touched yet.
pub(super) fn physical_memory(config: &Config) -> Result<Arc<PhysMem>, String> {
    let mb = config.memory >> 20;
    if let Some(host) = host_memory()
        && config.memory > host
    {
        return Err(format!("mem={mb}M: this host has {}M of memory and swap", host >> 20));
    }
    PhysMem::new(config.memory).map(Arc::new).map_err(|e| match e.errno() {
        Errno::ENOMEM | Errno::EFBIG | Errno::EINVAL => {
            format!("mem={mb}M: the host does not allow that much memory (ulimit -v, ulimit -f?)")
        }
        e => format!("mem={mb}M: {}", e.text()),
    })
}

/// Makes the calling host thread the virtual CPU and starts the backend on it.
pub(super) fn start(phys: Arc<PhysMem>, config: &Config) -> Result<Arc<dyn Machine>, String> {
    arch::cpu::enter(0).map_err(|e| format!("the virtual CPU: {}", e.errno().text()))?;
    if config.backend != Backend::Ptrace {
        let (handoff, patch) = (config.handoff, config.patch != Patch::Off);
        let options = shm::Options { handoff, patch, ..Default::default() };
        match ShmMachine::new(phys.clone(), options) {
            Ok(machine) => return Ok(machine),
            Err(e) if config.backend == Backend::Shm => return Err(e.to_string()),
            Err(e) => log::info!("{e}; using ptrace"),
        }
    }
    let options = ptrace::Options::default();
    let machine = PtraceMachine::new(phys, options).map_err(|e| e.to_string())?;
    Ok(machine)
}

/// Memory management over it.
pub(super) fn memory(machine: Arc<dyn Machine>, config: &Config) -> Arc<Memory> {
    let memory = Memory::with_random(machine, Box::new(crate::kernel::fill_random));
    if !config.randomize {
        memory.set_randomize(0);
    }
    if config.patch != Patch::Off {
        let entry = memory.machine().patch_entry();
        if entry.is_none() && config.patch == Patch::On {
            log::info!("patch=on: without effect: the machine has no entry for patched calls");
        }
        memory.set_patch_entry(entry);
        memory.set_patch_lazily(config.patch == Patch::Auto);
    }
    memory
}
