//! Standard input, output and error of the first process.

use std::sync::Arc;

use arch::hoststream::HostStream;
use base::Cred;
use drivers::chardev::{OpenInfo, Opener};
use drivers::tty::console::DEV_CONSOLE;
use drivers::{CharFile, DevNum, StreamFile};
use fs::fdtable::FdTable;
use fs::ops::OpenHow;
use fs::special::CharOps;
use fs::{File, FileType, FsContext, OpenFlags};

use super::devices::is_tty;
use crate::Kernel;

/// The kernel itself, opening files at boot: no terminal becomes a controlling one by that.
struct BootOpener(Cred);

impl Opener for BootOpener {
    fn cred(&self) -> &Cred {
        &self.0
    }
}

fn failed(what: &str) -> impl Fn(base::Error) -> String + '_ {
    move |e| format!("{what}: {}", e.errno().text())
}

/// The console as a file: by its name if /dev is there, else without a name.
fn console_file(kernel: &Kernel, ctx: &FsContext) -> Result<Arc<File>, String> {
    let cred = Arc::new(Cred::root());
    let opener = BootOpener(Cred::root());
    let how = OpenHow { flags: OpenFlags::RDWR | OpenFlags::NOCTTY, ..OpenHow::default() };
    if let Ok(f) = fs::ops::open(ctx, &cred, &opener, None, b"/dev/console", &how) {
        return Ok(f);
    }
    let info = OpenInfo { read: true, write: true, noctty: true, nonblock: false };
    let device =
        kernel.vfs.devices.chars.open(DEV_CONSOLE, info, &opener).map_err(failed("console"))?;
    Ok(wrap(kernel, device, DEV_CONSOLE, OpenFlags::RDWR, FileType::CharDevice))
}

fn wrap(
    kernel: &Kernel,
    device: Arc<dyn CharFile>,
    dev: DevNum,
    flags: OpenFlags,
    kind: FileType,
) -> Arc<File> {
    let ops = Arc::new(CharOps::new(device, dev, kernel.memory.clone()));
    kernel.vfs.anon().file(ops, flags, Arc::new(Cred::root()), kind, 0o600)
}

/// A stream of the host that is no terminal, or must not be treated as one.
fn stream_file(kernel: &Kernel, stream: HostStream, input: bool) -> Result<Arc<File>, String> {
    let device = StreamFile::new(stream, input, !input).map_err(failed("standard streams"))?;
    let flags = if input { OpenFlags::empty() } else { OpenFlags::WRONLY };
    Ok(wrap(kernel, device, DevNum::new(0, 0), flags, FileType::Fifo))
}

/// Whether the first process gets a terminal.
pub(super) fn has_terminal(kernel: &Kernel) -> bool {
    kernel.config.run.is_none() || is_tty(HostStream::stdin())
}

/// A table with descriptors 0, 1 and 2.
pub(super) fn open(kernel: &Kernel, ctx: &FsContext) -> Result<Arc<FdTable>, String> {
    let table = FdTable::new();
    let place = |fd: i32, file: Arc<File>| {
        table.place(fd, file, false, 1024).map_err(failed("standard streams"))
    };
    if kernel.config.run.is_none() {
        let console = console_file(kernel, ctx)?;
        for fd in 0..3 {
            place(fd, console.clone())?;
        }
        return Ok(table);
    }
    let terminal = if has_terminal(kernel) { Some(console_file(kernel, ctx)?) } else { None };
    for fd in 0..3 {
        // A stream that Umbra was started without stays closed.
        let Ok(stream) = HostStream::inherited(fd) else { continue };
        let file = match &terminal {
            Some(t) if stream.is_tty() => t.clone(),
            _ => stream_file(kernel, stream, fd == 0)?,
        };
        place(fd, file)?;
    }
    Ok(table)
}
