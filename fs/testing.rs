//! What several tests of this crate need: a VFS over a fake machine.

use std::sync::Arc;

use drivers::tty::{NoSignals, PtyRegistry};
use drivers::{BlockRegistry, CharRegistry};

use crate::vfs::{Devices, Vfs};

/// A VFS without devices and with a few megabytes.
pub(crate) fn vfs() -> Arc<Vfs> {
    let memory = mm::Memory::new(arch::fake::FakeMachine::new(1024));
    let devices = Devices {
        chars: Arc::new(CharRegistry::new()),
        blocks: Arc::new(BlockRegistry::new()),
        ptys: PtyRegistry::new(Arc::new(NoSignals)),
    };
    Vfs::new(memory, devices)
}
