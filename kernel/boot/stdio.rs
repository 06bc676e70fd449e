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
use crate::config::Config;

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
    kernel.vfs.anon().shared_file(ops, flags, Arc::new(Cred::root()), kind, 0o600)
}

/// One of the three, as Umbra was started with it.
enum Stream {
    /// Closed.
    None,
    /// The console.
    Terminal,
    /// Anything else, byte by byte.
    Host(Arc<dyn CharFile>),
}

/// Umbra's own standard streams, opened once.
pub(super) struct Streams {
    /// Whether the first process has a terminal.
    pub(super) terminal: bool,
    streams: [Stream; 3],
}

impl Streams {
    /// Looks at the host's. Without `run` all three are the console.
    pub(super) fn new(config: &Config) -> Result<Streams, String> {
        if config.run.is_none() {
            let streams = [Stream::Terminal, Stream::Terminal, Stream::Terminal];
            return Ok(Streams { terminal: true, streams });
        }
        let terminal = is_tty(HostStream::stdin());
        let mut streams = [Stream::None, Stream::None, Stream::None];
        for (fd, s) in (0..).zip(&mut streams) {
            *s = match HostStream::inherited(fd) {
                Err(_) => Stream::None,
                Ok(h) if terminal && h.is_tty() => Stream::Terminal,
                Ok(h) => Stream::Host(
                    StreamFile::new(h, fd == 0, fd != 0).map_err(failed("standard streams"))?,
                ),
            };
        }
        Ok(Streams { terminal, streams })
    }

    /// A table with descriptors 0, 1 and 2.
    pub(super) fn open(&self, kernel: &Kernel, ctx: &FsContext) -> Result<Arc<FdTable>, String> {
        let table = FdTable::new();
        let mut console = None;
        for (fd, s) in (0..).zip(&self.streams) {
            let file = match s {
                Stream::None => continue,
                Stream::Terminal => match &console {
                    Some(c) => Arc::clone(c),
                    None => Arc::clone(console.insert(console_file(kernel, ctx)?)),
                },
                Stream::Host(device) => {
                    let flags = if fd == 0 { OpenFlags::empty() } else { OpenFlags::WRONLY };
                    wrap(kernel, device.clone(), DevNum::new(0, 0), flags, FileType::Fifo)
                }
            };
            table.place(fd, file, false, 1024).map_err(failed("standard streams"))?;
        }
        Ok(table)
    }
}
