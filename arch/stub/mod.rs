//! The stub: the only host code that runs in a guest's address space.
//!
//! Its image is one page, an ELF header with position-independent code behind it, in a sealed
//! memfd. The kernel executes that memfd once (the *zygote*), maps the same page at [`TEXT`] and
//! unmaps everything else. Every address space is then a clone of the zygote. All of them have the
//! page at [`TEXT`] (readable, executable, never writable by anybody) and at [`PAGE`] a request
//! page that only the kernel writes.
//!
//! Three kinds of task execute this text:
//! * the zygote, at `umbra_stub_zygote`: makes servers, never runs guest code, has no filter;
//! * a *server* per address space, at `umbra_stub_park`: executes the requests of its page and
//!   makes guest tasks. Its filter allows what the text below does and nothing else;
//! * a *guest task* per guest thread, at `umbra_stub_guest`: closes what it inherited, installs a
//!   filter that allows nothing, stops, and executes only guest code from then on.

pub(crate) mod filter;
pub(crate) mod image;
pub(crate) mod spawn;

/// Where the text is mapped in every stub.
pub(crate) const TEXT: u64 = 0x7fff_ffff_d000;
/// Where the request page is mapped in every stub.
pub(crate) const PAGE: u64 = 0x7fff_ffff_e000;
/// Where exec puts the image. Not at the top: exec's stack may be there.
pub(crate) const LOW: u64 = 0x40_0000;

/// Most requests in one batch.
pub(crate) const MAX_REQUESTS: usize = crate::space::MAX_BATCH;
/// Offset in the request page of the byte count of the batch, or of [`MAKE_GUEST`].
pub(crate) const COUNT: usize = 4088;
/// Instead of a byte count: make a guest task.
pub(crate) const MAKE_GUEST: u64 = u64::MAX;

/// The call by which a server says that it is done. No host has it; the filter turns it into a
/// stop (RET_TRACE), which nobody but the filter can make.
pub(crate) const PARK: u32 = 999;

/// What the zygote clones a server with: a process of its own, child of the kernel and traced.
pub(crate) const SERVER_FLAGS: u32 =
    (libc::CLONE_PARENT | libc::CLONE_PTRACE | libc::SIGCHLD).cast_unsigned();
/// What a server clones a guest task with. Never CLONE_THREAD: a traced group leader's death is not
/// reported before all other threads of the group are reaped.
pub(crate) const GUEST_FLAGS: u32 = SERVER_FLAGS | libc::CLONE_VM.cast_unsigned();

/// One host call for the server to execute.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Call number.
    pub(crate) nr: u64,
    /// Its arguments.
    pub(crate) args: [u64; 6],
}

const _: () = assert!(size_of::<Request>() == 56 && MAX_REQUESTS * 56 <= COUNT);
