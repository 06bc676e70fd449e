//! execve(2): from a path to a program that is about to run.
//!
//! Everything that can be refused is looked at first: the path, the file's format, its interpreter, the
//! size of the arguments. Then comes the point of no return: the other threads end, the old image is
//! dropped, and a failure from there on kills the process, as it does on Linux.

pub mod elf;
pub mod stack;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arch::Regs;
use base::limits::MAX_ARG_STRLEN;
use base::{Cred, Errno, PollEvents, Result, Sleep, UserAddr, Wake, err};
use fs::vfs_inode::Executing;
use fs::{File, FileType, LookupFlags, OpenFlags, Path};
use mm::{AddressSpace, MmLimits};

use crate::signal::set::nr;
use crate::syscall::args::read_u64;
use crate::syscall::{Ctx, TaskCaller};
use crate::task::limits::Resource;
use crate::task::{Task, exit};

/// Interpreters that may stand behind one another (`#!` of a script that is a script).
const MAX_REWRITES: usize = 5;
/// Bytes of a file's head that decide its format.
const HEAD: usize = 4096;

/// Strings of a program: arguments or environment, without their NULs.
pub type Strings = Vec<Vec<u8>>;

/// Reads a NULL-terminated array of string pointers. A null array is an empty one.
///
/// # Errors
/// EFAULT; E2BIG if one string or all together are too long.
pub fn read_strings(mm: &AddressSpace, mut at: UserAddr, budget: &mut usize) -> Result<Strings> {
    let mut out = Strings::new();
    if at.is_null() {
        return Ok(out);
    }
    loop {
        let p = read_u64(mm, at)?;
        if p == 0 {
            return Ok(out);
        }
        let s = mm
            .read_cstr(UserAddr(p), MAX_ARG_STRLEN)
            .map_err(|e| if e == Errno::ENAMETOOLONG { Errno::E2BIG.into() } else { e })?;
        let cost = s.len() + 1 + 8;
        *budget = budget.checked_sub(cost).ok_or(Errno::E2BIG)?;
        out.push(s);
        at = at.add(8)?;
    }
}

/// Bytes that arguments and environment may take: a quarter of the stack limit, at least 128 KiB.
pub fn strings_budget(task: &Task) -> usize {
    let stack = task.process.rlimit(Resource::Stack);
    ((stack / 4).min(6 << 20) as usize).max(128 << 10)
}

/// What is to be executed.
#[derive(Debug)]
pub struct Program {
    /// The file.
    pub file: Arc<File>,
    /// Its head.
    pub head: Vec<u8>,
    /// Where it was found; writers are kept out.
    pub image: Arc<Executing>,
}

fn open_program(cx: &Ctx<'_>, base: Option<&Path>, name: &[u8], nofollow: bool) -> Result<Program> {
    let ctx = cx.task.fs();
    let cred = cx.cred();
    let mut flags = LookupFlags::FOLLOW;
    if nofollow {
        flags = LookupFlags::empty();
    }
    if name.is_empty() && base.is_some() {
        flags |= LookupFlags::EMPTY;
    }
    let path = fs::lookup(&ctx, &cred, base, name, flags)?;
    if path.inode().kind == FileType::Symlink {
        return err(Errno::ELOOP);
    }
    if path.inode().kind != FileType::Regular || path.mount.flags().contains(fs::MountFlags::NOEXEC)
    {
        return err(Errno::EACCES);
    }
    fs::ops::access(&cred, &path, 1, true)?;
    // Executing needs no permission to read: the kernel itself opens the file.
    let root = Arc::new(Cred::root());
    let file = fs::ops::open_path(&ctx, &root, &TaskCaller::new(cx), &path, OpenFlags::empty())?;
    let mut head = vec![0; HEAD];
    let image = Arc::new(Executing::new(path)?);
    let n = elf::read_full(&file, 0, &mut head)?;
    head.truncate(n);
    Ok(Program { file, head, image })
}

/// An interpreter and its one argument.
type Script = (Vec<u8>, Option<Vec<u8>>);

/// `#! interpreter [argument]`: both without blanks around them.
fn parse_script(head: &[u8]) -> Result<Option<Script>> {
    let Some(line) = head.strip_prefix(b"#!") else { return Ok(None) };
    let line = &line[..line.len().min(254)];
    let end = line.iter().position(|b| *b == b'\n');
    let line = &line[..end.unwrap_or(line.len())];
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let start = line.iter().position(|b| !blank(b)).ok_or(Errno::ENOEXEC)?;
    let line = &line[start..];
    let name_end = line.iter().position(|b| blank(b) || *b == 0);
    if end.is_none() && name_end.is_none() && head.len() >= 256 {
        return err(Errno::ENOEXEC); // the name may be cut off
    }
    let name = &line[..name_end.unwrap_or(line.len())];
    if name.is_empty() {
        return err(Errno::ENOEXEC);
    }
    let rest = &line[name.len()..];
    let rest = &rest[..rest.iter().position(|b| *b == 0).unwrap_or(rest.len())];
    let arg = rest.iter().position(|b| !blank(b)).map(|i| {
        let last = rest.iter().rposition(|b| !blank(b)).unwrap_or(i);
        rest[i..=last].to_vec()
    });
    Ok(Some((name.to_vec(), arg)))
}

/// Executes a program in place of the calling one. On success the registers are those of the new one.
///
/// # Errors
/// What execve(2) lists: ENOENT, EACCES, ENOEXEC, E2BIG, ELOOP, ETXTBSY, ENOMEM, EINVAL.
pub fn execve(
    cx: &mut Ctx<'_>,
    base: Option<&Path>,
    name: &[u8],
    mut argv: Strings,
    envp: Strings,
    nofollow: bool,
) -> Result<()> {
    if argv.is_empty() {
        argv.push(Vec::new()); // as Linux since 5.18
    }
    let mut program = open_program(cx, base, name, nofollow)?;
    let set_id = program.image.path().clone();
    let mut exec_name = name.to_vec();
    let first_name = if let (Some(b), true) = (base, !name.starts_with(b"/")) {
        if name.is_empty() { b.full_name() } else { [&b.full_name()[..], b"/", name].concat() }
    } else {
        name.to_vec()
    };
    let mut script_name = first_name.clone();
    let mut rewrites = 0;
    while let Some((interp, arg)) = parse_script(&program.head)? {
        rewrites += 1;
        if rewrites > MAX_REWRITES {
            return err(Errno::ELOOP);
        }
        let mut new = vec![interp.clone()];
        new.extend(arg);
        new.push(script_name);
        argv.splice(0..1, new);
        exec_name.clone_from(&interp);
        program = open_program(cx, None, &interp, false)?;
        script_name = interp;
    }
    let set_id = if rewrites == 0 { set_id } else { program.image.path().clone() };
    let main = elf::Image::parse(&program)?;
    let interp = match &main.interp {
        Some(name) => {
            let p = open_program(cx, None, name, false)?;
            let image = elf::Image::parse(&p)
                .map_err(|e| if e == Errno::ENOEXEC { Errno::ELIBBAD.into() } else { e })?;
            if image.interp.is_some() {
                return err(Errno::ELIBBAD);
            }
            Some((p, image))
        }
        None => None,
    };
    let cred = new_credentials(cx, &set_id)?;

    end_other_threads(cx)?;
    // The point of no return.
    let comm = exec_name.rsplit(|b| *b == b'/').next().unwrap_or(&exec_name).to_vec();
    let loaded =
        replace_image(cx, &program, &main, interp.as_ref(), &argv, &envp, &first_name, &cred);
    match loaded {
        Ok(()) => {
            finish(cx, &comm, cred);
            cx.task.set_answers(cx.thread.answers());
            Ok(())
        }
        Err(e) => {
            log::info!("{:?}: exec failed past the point of no return: {e:?}", cx.task);
            exit::exit_group(&cx.task, nr::KILL as i32);
            cx.registers_set = true;
            Ok(())
        }
    }
}

/// set-user-id and set-group-id bits, capabilities(7) "Transformation during execve".
fn new_credentials(cx: &Ctx<'_>, path: &Path) -> Result<Cred> {
    let mut c = (*cx.cred()).clone();
    let attr = fs::ops::stat(path)?;
    let honoured = !path.mount.flags().contains(fs::MountFlags::NOSUID) && !c.no_new_privs;
    if honoured && attr.perm & 0o4000 != 0 {
        c.euid = attr.uid;
    }
    if honoured && attr.perm & 0o2010 == 0o2010 {
        c.egid = attr.gid;
    }
    let set_id = c.euid != c.uid || c.egid != c.gid;
    if set_id {
        c.ambient = Default::default();
    }
    let noroot = c.securebits & 1 != 0;
    if !noroot && (c.uid == 0 || c.euid == 0) {
        c.permitted.0 = c.inheritable.0 | c.bounding.0;
        c.effective = if c.euid == 0 { c.permitted } else { c.ambient };
    } else {
        c.permitted.0 = c.ambient.0;
        c.effective = c.ambient;
    }
    c.suid = c.euid;
    c.fsuid = c.euid;
    c.sgid = c.egid;
    c.fsgid = c.egid;
    Ok(c)
}

/// execve ends all other threads; the caller takes over the process's id.
fn end_other_threads(cx: &Ctx<'_>) -> Result<()> {
    let p = &cx.task.process;
    let others: Vec<Arc<Task>> = {
        let mut s = p.lock();
        if s.exiting.is_some() || s.exec_leader.is_some() {
            return err(Errno::EAGAIN);
        }
        if s.threads.len() == 1 {
            Vec::new()
        } else {
            s.exec_leader = Some(cx.task.tid());
            s.threads.iter().filter(|t| t.tid() != cx.task.tid()).cloned().collect()
        }
    };
    for t in &others {
        t.set_fatal();
        t.wake(PollEvents::empty());
    }
    drop(others);
    let waited = p
        .exit_event
        .wait_until(Sleep::Killable, None, || (p.lock().threads.len() == 1).then_some(()));
    p.lock().exec_leader = None;
    waited.map_err(|_| base::Error::new(Errno::EAGAIN))?;
    if cx.task.tid() != p.pid {
        let mut tree = cx.kernel.tree.lock();
        tree.remove_task(cx.task.tid());
        cx.task.set_tid(p.pid);
        tree.add_task(&cx.task);
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
fn replace_image(
    cx: &mut Ctx<'_>,
    program: &Program,
    main: &elf::Image,
    interp: Option<&(Program, elf::Image)>,
    argv: &Strings,
    envp: &Strings,
    name: &[u8],
    cred: &Cred,
) -> Result<()> {
    crate::futex::leave_image(cx);
    // Two references: the task's and ours. More: a vfork parent or CLONE_VM siblings use it.
    let shared = Arc::strong_count(&cx.mm) > 2;
    let mm = if shared { AddressSpace::new(&cx.kernel.memory)? } else { cx.mm.clone() };
    if !shared {
        mm.clear();
    }
    let process = &cx.task.process;
    mm.set_limits(mm_limits(process));
    let persona = process.personality.load(Ordering::Relaxed);
    const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;
    mm.set_randomize(persona & ADDR_NO_RANDOMIZE == 0);

    let start = stack::load(cx.kernel, &mm, program, main, interp, argv, envp, name, cred)?;
    let regs = Regs::initial(start.entry.0, start.sp.0);
    if shared {
        let thread = mm.space().clone().new_thread(&regs, None)?;
        let old = std::mem::replace(&mut cx.thread, thread);
        drop(old);
        cx.task.set_mm(Some(mm.clone()));
        cx.mm = mm;
    } else {
        *cx.thread.regs_mut() = regs;
        cx.thread.set_xstate(&arch::xsave::initial())?;
    }
    Ok(())
}

/// The limits that an address space heeds.
pub fn mm_limits(p: &crate::task::Process) -> MmLimits {
    let l = p.rlimits.lock();
    MmLimits {
        as_: l.soft(Resource::As),
        stack: l.soft(Resource::Stack),
        data: l.soft(Resource::Data),
        memlock: l.soft(Resource::Memlock),
        fsize: l.soft(Resource::Fsize),
    }
}

/// What a new image does not inherit.
fn finish(cx: &mut Ctx<'_>, comm: &[u8], cred: Cred) {
    let task = cx.task.clone();
    let p = &task.process;
    task.set_comm(comm);
    let old = p.sig_actions();
    let fresh = {
        let mut a = old.lock().clone();
        a.reset_for_exec();
        Arc::new(base::SpinLock::new(base::Rank::Leaf, a))
    };
    *p.actions.lock() = fresh;
    {
        let mut s = task.signals.lock();
        (s.alt_base, s.alt_size, s.alt_flags) = (0, 0, 0);
    }
    let set_id = cred.euid != cred.uid || cred.egid != cred.gid;
    if set_id || cred.euid != task.cred().euid {
        task.pdeathsig.store(0, Ordering::Relaxed);
    }
    p.dumpable.store(u32::from(!set_id), Ordering::Relaxed);
    let mut cred = cred;
    cred.securebits &= !(1 << 4); // SECBIT_KEEP_CAPS
    task.set_cred(cred);
    p.timers.clear_posix(cx.kernel);
    p.lock().execed = true;
    // A table shared by CLONE_FILES becomes our own: closing must not hit the others.
    let files = cx.files();
    if Arc::strong_count(&files) > 2 {
        let own = files.fork();
        own.close_on_exec();
        task.set_files(Some(own));
    } else {
        files.close_on_exec();
    }
    let waiting = task.vfork_done.lock().take();
    if let Some(v) = waiting {
        v.complete();
    }
    cx.registers_set = true;
    cx.restart = None;
    cx.restart_block = None;
}

#[cfg(test)]
mod tests {
    use super::parse_script;

    #[test]
    fn script_lines() {
        let p = |s: &str| parse_script(s.as_bytes()).ok().flatten();
        assert_eq!(p("#!/bin/sh\necho"), Some((b"/bin/sh".to_vec(), None)));
        assert_eq!(
            p("#! /usr/bin/env  python3 -u \nx"),
            Some((b"/usr/bin/env".to_vec(), Some(b"python3 -u".to_vec())))
        );
        assert_eq!(p("#!/bin/sh"), Some((b"/bin/sh".to_vec(), None)), "the file ends the line");
        assert_eq!(
            p(&format!("#!/{}", "x".repeat(300))),
            None,
            "a line without its end may be cut"
        );
        assert_eq!(p("#!\n"), None);
        assert_eq!(p("\x7fELF"), None);
    }
}
