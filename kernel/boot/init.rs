//! The first process, and the kernel's own threads.
//!
//! Process 1 is made by hand; its first act, on its own kernel stack, is to execute a program. Without
//! `run` that is init, sought where Linux seeks it. With `run` it is the command, sought along PATH.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arch::Regs;
use base::limits::MAX_TASKS;
use base::lock::{Rank, SpinLock};
use base::{Cred, Errno};
use drivers::tty::TtyContext as _;
use fs::{FsContext, LookupFlags};
use mm::AddressSpace;

use super::stdio;
use crate::Kernel;
use crate::exec::{self, Strings};
use crate::signal::queue::Actions;
use crate::syscall::Ctx;
use crate::task::limits::Rlimits;
use crate::task::{NewTask, new_process};
use crate::tty::TtyView;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn oom(e: base::Error) -> String {
    format!("the first process: {}", e.errno().text())
}

/// Makes process 1 and lets it run (as soon as the scheduler does).
pub(super) fn create(
    kernel: &Arc<Kernel>,
    stdio: &stdio::Streams,
    fs: Arc<FsContext>,
) -> Result<(), String> {
    let files = stdio.open(kernel, &fs)?;
    // The first id that is given out: 1.
    let pid = kernel.tree.lock().alloc_id().map_err(oom)?;
    let actions = Arc::new(SpinLock::new(Rank::Leaf, Actions::default()));
    let process = new_process(pid, actions, Rlimits::initial(MAX_TASKS as u64));
    let protected = kernel.config.run.is_none();
    process.unkillable.store(protected, Ordering::Relaxed);
    let mm = AddressSpace::new(&kernel.memory).map_err(oom)?;
    let thread = mm.space().clone().new_thread(&Regs::initial(0, 0), None).map_err(oom)?;
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"init");
    let task = NewTask {
        tid: pid,
        process: process.clone(),
        kernel: kernel.clone(),
        nice: 0,
        cred: Arc::new(Cred::root()),
        fs,
        files,
        mm: Some(mm),
        comm,
    }
    .build();
    {
        let mut tree = kernel.tree.lock();
        tree.add_process(&process, 0, pid, pid);
        tree.add_task(&task);
    }
    process.lock().threads.push(task.clone());
    let terminal = stdio.terminal;
    let run = kernel.config.run.is_some();
    let act = move |cx: &mut Ctx<'_>| if run { run_command(cx, terminal) } else { find_init(cx) };
    kernel.launch(&task, thread, true, Some(Box::new(act))).map_err(oom)
}

/// The threads of the kernel itself.
pub(super) fn kernel_threads(kernel: &Arc<Kernel>, fs: &Arc<FsContext>) -> Result<(), String> {
    kernel.spawn_kernel_thread(b"kflushd", fs.fork(), |k| k.flusher()).map_err(oom)
}

/// The session's terminal: the system console, if the first process has it as its standard input.
fn take_terminal(cx: &Ctx<'_>) {
    let console = cx.kernel.consoles.iter().find(|c| c.0 == cx.kernel.config.console);
    if let Some((_, console)) = console {
        let view = TtyView::new(cx.kernel, &cx.task);
        if view.ctty().is_none() {
            console.tty().set_controlling(&view);
        }
    }
}

fn environment(home: &str) -> Strings {
    let term = std::env::var("TERM").ok().filter(|t| !t.is_empty());
    let term = term.as_deref().unwrap_or("linux");
    let mut env = vec![format!("HOME={home}"), format!("PATH={PATH}"), format!("TERM={term}")];
    if home != "/" {
        env.push("USER=root".into());
        env.push("LOGNAME=root".into());
    }
    env.into_iter().map(String::into_bytes).collect()
}

fn give_up(cx: &mut Ctx<'_>, status: i32, why: String) {
    cx.kernel.fail_boot(status, why);
    cx.task.set_fatal();
    cx.exiting = true;
}

/// A program that is an init, which gives terminals to its children, and must not have one itself.
fn is_real_init(name: &[u8]) -> bool {
    let base = name.rsplit(|b| *b == b'/').next().unwrap_or(name);
    base.ends_with(b"init") || base == b"systemd" || base == b"linuxrc"
}

fn find_init(cx: &mut Ctx<'_>) {
    let config = &cx.kernel.config;
    let asked = config.init.clone();
    let mut places: Vec<&str> = Vec::new();
    match &asked {
        Some(path) => places.push(path),
        None => {
            if config.initrd.is_some() {
                places.push("/init");
            }
            places.extend(["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"]);
        }
    }
    let args = config.init_args.clone();
    let mut last = Errno::ENOENT;
    for place in places {
        let mut argv: Strings = vec![place.as_bytes().to_vec()];
        argv.extend(args.iter().cloned());
        if !is_real_init(place.as_bytes()) {
            take_terminal(cx);
        }
        log::info!("Run {place} as init process");
        match exec::execve(cx, None, place.as_bytes(), argv, environment("/"), false) {
            Ok(()) => return,
            Err(e) => {
                if e != Errno::ENOENT {
                    last = e.errno();
                    // Of the one that was asked for the last line speaks.
                    if asked.is_none() {
                        log::error!(
                            "Starting init: {place} exists but cannot be executed: {}",
                            last.text()
                        );
                    }
                }
            }
        }
    }
    let why = match asked {
        Some(path) => format!("init={path}: {}", last.text()),
        None => "no working init found: pass init= to the kernel".to_owned(),
    };
    give_up(cx, 1, why);
}

/// Whether there is something executable at `path`.
fn executable(cx: &Ctx<'_>, path: &[u8]) -> base::Result<()> {
    let (ctx, cred) = (cx.task.fs(), cx.cred());
    let at = fs::lookup(&ctx, &cred, None, path, LookupFlags::FOLLOW)?;
    if at.inode().kind != fs::FileType::Regular {
        return base::err(Errno::EACCES);
    }
    fs::ops::access(&cred, &at, 1, true)
}

/// Where execvp(3) would find `name`.
fn search(cx: &Ctx<'_>, name: &[u8]) -> base::Result<Vec<u8>> {
    if name.contains(&b'/') {
        return executable(cx, name).map(|()| name.to_vec());
    }
    let mut why = Errno::ENOENT;
    for dir in PATH.split(':') {
        let path = [dir.as_bytes(), b"/", name].concat();
        match executable(cx, &path) {
            Ok(()) => return Ok(path),
            Err(e) if e == Errno::EACCES => why = Errno::EACCES,
            Err(_) => {}
        }
    }
    base::err(why)
}

fn run_command(cx: &mut Ctx<'_>, terminal: bool) {
    let mut argv = cx.kernel.config.run.as_ref().map_or_else(Vec::new, |r| r.command.clone());
    let ctx = cx.task.fs();
    let cred = cx.cred();
    let mut home = "/";
    if let Ok(at) = fs::lookup(&ctx, &cred, None, b"/root", LookupFlags::FOLLOW)
        && fs::ops::chdir(&ctx, &cred, at).is_ok()
    {
        home = "/root";
    }
    if argv.is_empty() {
        let bash = executable(cx, b"/bin/bash").is_ok();
        argv.push(if bash { b"/bin/bash".to_vec() } else { b"/bin/sh".to_vec() });
    }
    if terminal {
        take_terminal(cx);
    }
    let name = argv[0].clone();
    let shown = String::from_utf8_lossy(&name).into_owned();
    let env = environment(home);
    let result = search(cx, &name).and_then(|path| {
        match exec::execve(cx, None, &path, argv.clone(), env.clone(), false) {
            // A script without `#!`, as execvp(3) treats it.
            Err(e) if e == Errno::ENOEXEC => {
                let mut script = vec![b"/bin/sh".to_vec(), path];
                script.extend(argv.iter().skip(1).cloned());
                exec::execve(cx, None, b"/bin/sh", script, env, false).map_err(|_| e)
            }
            r => r,
        }
    });
    if let Err(e) = result {
        let status = if e == Errno::ENOENT { 127 } else { 126 };
        give_up(cx, status, format!("{shown}: {}", e.errno().text()));
    }
}

#[cfg(test)]
mod tests {
    use super::is_real_init;

    #[test]
    fn inits() {
        for (name, yes) in [
            ("/sbin/init", true),
            ("/lib/systemd/systemd", true),
            ("/sbin/runit-init", true),
            ("/bin/bash", false),
            ("/init.sh", false),
        ] {
            assert_eq!(is_real_init(name.as_bytes()), yes, "{name}");
        }
    }
}
