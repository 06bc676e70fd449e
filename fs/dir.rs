//! Directories.
use crate::file::FileOps;
/// Directories.
#[derive(Debug)]
pub struct DirOps;
impl FileOps for DirOps {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
