//! Regular files.
use crate::file::FileOps;
/// Page-cached regular files.
#[derive(Debug)]
pub struct RegularOps;
impl FileOps for RegularOps {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
