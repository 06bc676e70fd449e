//! The system console. (Being written.)
use std::sync::Arc;

use super::core::Tty;

/// The system console: `/dev/console`.
#[derive(Debug)]
pub struct Console {
    tty: Arc<Tty>,
}

impl Console {
    /// Its terminal.
    pub fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }
}
