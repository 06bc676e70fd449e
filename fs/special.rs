//! Devices.
use crate::file::FileOps;
/// O_PATH.
#[derive(Debug)]
pub struct PathOnlyOps;
impl FileOps for PathOnlyOps {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
