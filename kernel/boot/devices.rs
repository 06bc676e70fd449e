//! Disks, consoles and the small devices, from `ubdN=`, `conN=` and `console=`.

use std::sync::Arc;

use arch::PhysMem;
use arch::hoststream::HostStream;
use base::Errno;
use drivers::tty::console::NullPort;
use drivers::tty::hostport::OpenedPort;
use drivers::tty::{Console, PtyRegistry, TtySignals, console, open_port};
use drivers::{BlockDevice, BlockRegistry, CharRegistry, CowDisk, HostDisk, KernelLog};
use fs::Devices;

use super::stdio::Streams;
use crate::config::{Config, DiskAccess, DiskConfig};
use crate::tty::KernelTtySignals;

/// All devices.
pub(super) struct DeviceSet {
    pub(super) tables: Devices,
    pub(super) consoles: Vec<(u32, Arc<Console>)>,
    pub(super) signals: Arc<KernelTtySignals>,
    pub(super) stdio: Streams,
}

fn taken(e: base::Error) -> String {
    format!("devices: {}", e.errno().text())
}

/// Opens and registers everything.
pub(super) fn set_up(
    config: &Config,
    phys: &Arc<PhysMem>,
    log: &Arc<KernelLog>,
) -> Result<DeviceSet, String> {
    let blocks = Arc::new(BlockRegistry::new());
    for d in &config.disks {
        let disk = open_disk(d, phys)?;
        blocks.register_ubd(d.index, disk).map_err(taken)?;
    }
    let chars = Arc::new(CharRegistry::new());
    drivers::memdev::register(&chars, log.clone(), arch::random::fill).map_err(taken)?;
    let signals = Arc::new(KernelTtySignals::default());
    let tty_signals: Arc<dyn TtySignals> = signals.clone();
    let ptys = PtyRegistry::new(tty_signals.clone());
    ptys.register(&chars).map_err(taken)?;
    console::register_dev_tty(&chars).map_err(taken)?;

    let mut consoles = Vec::new();
    let mut ports = config.consoles.clone();
    ports.entry(0).or_insert_with(|| default_port(config));
    for (n, spec) in ports {
        let opened = open_console(n, &spec, config.consoles.contains_key(&n))?;
        if let Some(place) = &opened.note {
            log::warn!("con{n}: {place}");
        }
        let c = Console::new(n, opened.port, tty_signals.clone());
        c.register(&chars).map_err(taken)?;
        if n == config.console {
            c.register_as_system_console(&chars).map_err(taken)?;
        }
        if spec.starts_with("fd:0") {
            c.follow_window_size().map_err(taken)?;
        }
        consoles.push((n, c));
    }
    let stdio = Streams::new(config)?;
    Ok(DeviceSet { tables: Devices { chars, blocks, ptys }, consoles, signals, stdio })
}

/// Whether a standard stream of Umbra is a terminal.
pub(super) fn is_tty(stream: base::Result<HostStream>) -> bool {
    stream.is_ok_and(|s| s.is_tty())
}

/// Where con0 is without `con0=`: on the terminal if there is one; `umbra run` hands streams that are no
/// terminals to the program as they are, so then the console is nowhere.
fn default_port(config: &Config) -> String {
    if is_tty(HostStream::stdin()) {
        let output = if is_tty(HostStream::stdout()) {
            1
        } else if config.run.is_some() && is_tty(HostStream::stderr()) {
            2
        } else if config.run.is_some() {
            0
        } else {
            1
        };
        format!("fd:0,fd:{output}")
    } else if config.run.is_some() {
        "null".into()
    } else {
        "fd:0,fd:1".into()
    }
}

fn open_console(n: u32, spec: &str, asked: bool) -> Result<OpenedPort, String> {
    let opened = match open_port(spec) {
        Ok(p) => p,
        // Umbra was started with its streams closed: a machine without a terminal.
        Err(_) if !asked => OpenedPort { port: Box::new(NullPort), note: None },
        Err(line) => return Err(format!("con{n}=: {line}")),
    };
    if spec.starts_with("fd:0") && is_tty(HostStream::stdin()) && is_tty(HostStream::stderr()) {
        crate::logging::set_raw(true);
    }
    Ok(opened)
}

fn open_disk(d: &DiskConfig, phys: &Arc<PhysMem>) -> Result<Arc<dyn BlockDevice>, String> {
    let open = |read_only| HostDisk::open(&d.path, read_only, phys.clone());
    let disk = match d.access {
        DiskAccess::ReadOnly | DiskAccess::Cow => open(true),
        DiskAccess::ReadWrite => open(false),
        DiskAccess::Auto => match open(false) {
            Err(e)
                if matches!(
                    e.errno(),
                    Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ETXTBSY
                ) =>
            {
                log::info!("ubd{}: {e}; opened read-only", d.index);
                open(true)
            }
            r => r,
        },
    };
    let disk: Arc<dyn BlockDevice> = Arc::new(disk.map_err(|e| e.to_string())?);
    if d.access == DiskAccess::Cow {
        let cow = CowDisk::new(disk, phys.clone(), None).map_err(|e| {
            format!("{}: no temporary file for changes: {}", d.path.display(), e.errno().text())
        })?;
        return Ok(Arc::new(cow));
    }
    Ok(disk)
}
