//! The bounds on what a guest can make the kernel hold. All in one place; reaching one is the
//! guest's error (EAGAIN, EMFILE, ENFILE, ENOMEM, ENOSPC), never the kernel's.

/// Tasks (threads of all processes) at one time: `kernel.threads-max`.
pub const MAX_TASKS: usize = 8192;
/// Largest process id plus one: `kernel.pid_max`.
pub const PID_MAX: u32 = 32768;
/// Open file descriptions in the whole kernel: `fs.file-max`.
pub const MAX_FILES: usize = 262_144;
/// Ceiling of RLIMIT_NOFILE: `fs.nr_open`.
pub const NR_OPEN: u64 = 1_048_576;
/// Default capacity of a pipe, bytes.
pub const PIPE_DEFAULT: usize = 65536;
/// Largest capacity an unprivileged caller may ask for: `fs.pipe-max-size`.
pub const PIPE_MAX: usize = 1_048_576;
/// Bytes of all pipe buffers together.
pub const PIPE_TOTAL: usize = 256 << 20;
/// Sockets, with those that wait to be accepted.
pub const MAX_SOCKETS: usize = 65536;
/// Largest buffer of a socket that even CAP_NET_ADMIN can ask for, bytes.
pub const SOCKET_BUFFER_MAX: usize = 32 << 20;
/// Bytes that all sockets together hold for their readers.
pub const SOCKET_TOTAL: usize = 256 << 20;
/// Descriptors of one message: `SCM_MAX_FD`.
pub const SCM_MAX_FD: usize = 253;
/// Descriptors in flight, whoever sent them.
pub const MAX_IN_FLIGHT: usize = 262_144;
/// VMAs of one address space: `vm.max_map_count`.
pub const MAX_VMAS: usize = 65530;
/// Dentries kept that nobody uses.
pub const MAX_UNUSED_DENTRIES: usize = 16384;
/// Mounts.
pub const MAX_MOUNTS: usize = 4096;
/// Longest path, with its NUL.
pub const PATH_MAX: usize = 4096;
/// Longest name of one component.
pub const NAME_MAX: usize = 255;
/// Symbolic links followed in one path walk.
pub const MAX_SYMLINKS: usize = 40;
/// Bytes of arguments and environment of one string.
pub const MAX_ARG_STRLEN: usize = 32 * 4096;
/// inotify instances and watches.
pub const MAX_INOTIFY_WATCHES: usize = 65536;
/// Nesting of epoll instances.
pub const EPOLL_DEPTH: usize = 5;
