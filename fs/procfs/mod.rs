//! procfs: the kernel's state as files.
pub(crate) mod ns;
pub mod source;
pub use source::{
    CpuModel, CpuTimes, ProcSource, SystemInfo, Table, TaskInfo, TaskSetting, TaskState,
};
