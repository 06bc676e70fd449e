//! The ioctls of terminals (`man 2 ioctl_tty`). [`slave`] answers for the terminal itself,
//! `pty.rs` for a master, which passes what concerns both ends to [`both`].

use std::sync::Arc;

use base::uapi::{general as u, ioctl as n};
use base::{Cap, Errno, Result, UserAddr, UserMemory, err};

use super::core::{Tty, WinSize};
use super::file::TtyFile;
use super::termios::{Termios, VSTART, VSTOP};
use crate::chardev::Opener;

const TCIFLUSH: u64 = u::TCIFLUSH as u64;
const TCOFLUSH: u64 = u::TCOFLUSH as u64;
const TCIOFLUSH: u64 = u::TCIOFLUSH as u64;

fn put_i32(mem: &dyn UserMemory, arg: UserAddr, v: i32) -> Result<i64> {
    mem.write(arg, &v.to_ne_bytes())?;
    Ok(0)
}

pub(super) fn get_i32(mem: &dyn UserMemory, arg: UserAddr) -> Result<i32> {
    let mut b = [0; 4];
    mem.read(arg, &mut b)?;
    Ok(i32::from_ne_bytes(b))
}

fn encode_size(w: WinSize) -> [u8; 8] {
    let mut b = [0; 8];
    for (i, v) in [w.rows, w.cols, w.xpixel, w.ypixel].into_iter().enumerate() {
        b[2 * i..2 * i + 2].copy_from_slice(&v.to_ne_bytes());
    }
    b
}

fn decode_size(b: [u8; 8]) -> WinSize {
    let v = |i: usize| u16::from_ne_bytes([b[2 * i], b[2 * i + 1]]);
    WinSize { rows: v(0), cols: v(1), xpixel: v(2), ypixel: v(3) }
}

/// What is answered alike at both ends of a pseudo-terminal, about the slave. None: not one of
/// these. `inside`: the caller has the terminal itself open, so that job control applies.
pub(super) fn both(
    tty: &Arc<Tty>,
    inside: bool,
    cmd: u32,
    arg: UserAddr,
    mem: &dyn UserMemory,
    who: &dyn Opener,
) -> Option<Result<i64>> {
    Some(match cmd {
        n::TCGETS => get(mem, arg, &tty.termios().encode2()[..Termios::TERMIOS_LEN]),
        n::TCGETS2 => get(mem, arg, &tty.termios().encode2()),
        n::TCGETA => get(mem, arg, &tty.termios().encode_termio()),
        n::TCSETS | n::TCSETSW | n::TCSETSF => set_termios(tty, who, cmd - n::TCSETS, || {
            let mut b = [0; Termios::TERMIOS_LEN];
            mem.read(arg, &mut b)?;
            Ok(Termios::decode(&b))
        }),
        n::TCSETS2 | n::TCSETSW2 | n::TCSETSF2 => set_termios(tty, who, cmd - n::TCSETS2, || {
            let mut b = [0; Termios::TERMIOS2_LEN];
            mem.read(arg, &mut b)?;
            Ok(Termios::decode(&b))
        }),
        n::TCSETA | n::TCSETAW | n::TCSETAF => set_termios(tty, who, cmd - n::TCSETA, || {
            let mut b = [0; Termios::TERMIO_LEN];
            mem.read(arg, &mut b)?;
            Ok(tty.termios().with_termio(&b))
        }),
        n::TIOCGWINSZ => get(mem, arg, &encode_size(tty.window_size())),
        n::TIOCSWINSZ => set_size(tty, arg, mem),
        n::TIOCGPGRP => owned(tty, inside, who)
            .and_then(|()| put_i32(mem, arg, tty.foreground().unwrap_or(0) as i32)),
        n::TIOCGSID => owned(tty, inside, who).and_then(|()| match tty.session() {
            Some(sid) => put_i32(mem, arg, sid as i32),
            None => err(Errno::ENOTTY),
        }),
        n::TIOCSPGRP => set_foreground(tty, arg, mem, who),
        n::TIOCEXCL | n::TIOCNXCL => {
            tty.with(|s| s.set_exclusive(cmd == n::TIOCEXCL));
            Ok(0)
        }
        n::TIOCGEXCL => put_i32(mem, arg, tty.look(|s| s.exclusive()).into()),
        n::TIOCGETD => put_i32(mem, arg, 0),
        n::TIOCSETD => match get_i32(mem, arg) {
            Ok(0) => Ok(0),
            Ok(_) => err(Errno::EINVAL),
            Err(e) => Err(e),
        },
        n::TIOCGSOFTCAR => put_i32(mem, arg, (tty.termios().cflag & u::CLOCAL != 0).into()),
        n::TIOCSSOFTCAR => get_i32(mem, arg).map(|on| {
            let mut t = tty.termios();
            t.cflag = if on != 0 { t.cflag | u::CLOCAL } else { t.cflag & !u::CLOCAL };
            tty.with(|s| s.ldisc.set_termios(t));
            0
        }),
        n::TIOCVHANGUP => {
            if who.cred().capable(Cap::SysAdmin) {
                tty.hangup();
                Ok(0)
            } else {
                err(Errno::EPERM)
            }
        }
        _ => return None,
    })
}

/// An ioctl on the terminal itself.
pub(super) fn slave(
    file: &TtyFile,
    cmd: u32,
    arg: UserAddr,
    mem: &dyn UserMemory,
    who: &dyn Opener,
) -> Result<i64> {
    let tty = file.tty();
    if let Some(r) = both(tty, true, cmd, arg, mem, who) {
        return r;
    }
    let background = || tty.check_foreground(who.tty_context(), u::SIGTTOU);
    match cmd {
        n::TIOCSCTTY => set_controlling(file, arg.0, who),
        n::TIOCNOTTY => {
            let Some(ctx) = who.tty_context().filter(|c| tty.controls(*c)) else {
                return err(Errno::ENOTTY);
            };
            if ctx.pid() == ctx.session() {
                tty.give_up(ctx.session());
            }
            ctx.set_ctty(None);
            Ok(0)
        }
        n::FIONREAD => put_i32(mem, arg, tty.look(|s| s.ldisc.input_len()) as i32),
        n::TIOCOUTQ => {
            // What a pty has written counts as delivered.
            let n = if tty.hardware.is_pty() { 0 } else { tty.output_len() };
            put_i32(mem, arg, n as i32)
        }
        n::TCFLSH => {
            background()?;
            if arg.0 > TCIOFLUSH {
                return err(Errno::EINVAL);
            }
            flush(tty, arg.0 != TCOFLUSH, arg.0 != TCIFLUSH);
            Ok(0)
        }
        n::TCXONC => {
            background()?;
            flow(tty, arg.0)
        }
        // No line to send a break on: both only wait for the output to drain.
        n::TCSBRK | n::TCSBRKP | n::TIOCSBRK | n::TIOCCBRK => {
            background()?;
            if cmd != n::TIOCCBRK {
                tty.hardware.drain(tty)?;
            }
            Ok(0)
        }
        n::TIOCSTI => {
            // As with CONFIG_LEGACY_TIOCSTI off: faking input is for the superuser.
            if !who.cred().capable(Cap::SysAdmin) {
                return err(Errno::EIO);
            }
            let mut c = [0];
            mem.read(arg, &mut c)?;
            tty.input(&c);
            Ok(0)
        }
        n::TIOCGDEV => get(mem, arg, &(tty.dev().to_user() as u32).to_ne_bytes()),
        _ => err(Errno::ENOTTY),
    }
}

fn get(mem: &dyn UserMemory, arg: UserAddr, bytes: &[u8]) -> Result<i64> {
    mem.write(arg, bytes)?;
    Ok(0)
}

/// Discards what was typed, what was written, or both.
pub(super) fn flush(tty: &Arc<Tty>, input: bool, output: bool) {
    tty.with(|s| {
        if input {
            s.flush_input();
        }
        if output {
            s.ldisc.flush_output();
        }
    });
    if input {
        tty.hardware.input_room(tty);
    }
}

/// TCXONC: TCOOFF and TCOON for our output, TCIOFF and TCION to ask the other end to stop or to
/// go on, if there is a character for that.
fn flow(tty: &Arc<Tty>, action: u64) -> Result<i64> {
    if action > u64::from(u::TCION) {
        return err(Errno::EINVAL);
    }
    tty.with(|s| match action as u32 {
        u::TCOOFF => s.ldisc.set_output_stopped(true),
        u::TCOON => s.ldisc.set_output_stopped(false),
        other => {
            let which = if other == u::TCIOFF { VSTOP } else { VSTART };
            let c = s.ldisc.termios().cc[which];
            if c != super::termios::DISABLED {
                s.ldisc.out.raw(c);
            }
        }
    });
    Ok(0)
}

/// `mode`: 0 now, 1 when output has drained, 2 and discard input.
fn set_termios(
    tty: &Arc<Tty>,
    who: &dyn Opener,
    mode: u32,
    new: impl FnOnce() -> Result<Termios>,
) -> Result<i64> {
    tty.check_foreground(who.tty_context(), u::SIGTTOU)?;
    let mut new = new()?;
    if mode == 2 {
        tty.with(|s| s.flush_input());
    }
    if mode >= 1 {
        tty.hardware.drain(tty)?;
    }
    if tty.hardware.is_pty() {
        new.cflag = (new.cflag & !(u::CSIZE | u::PARENB)) | u::CS8 | u::CREAD;
    }
    tty.with(|s| {
        s.ldisc.set_termios(new);
        s.pump();
    });
    tty.hardware.input_room(tty);
    Ok(0)
}

fn set_size(tty: &Arc<Tty>, arg: UserAddr, mem: &dyn UserMemory) -> Result<i64> {
    let mut b = [0; 8];
    mem.read(arg, &mut b)?;
    tty.set_window_size(decode_size(b));
    Ok(0)
}

/// Asking about session and foreground group is for those whose terminal it is, or for a master.
fn owned(tty: &Arc<Tty>, inside: bool, who: &dyn Opener) -> Result<()> {
    if !inside || who.tty_context().is_some_and(|c| tty.controls(c)) {
        Ok(())
    } else {
        err(Errno::ENOTTY)
    }
}

fn set_foreground(
    tty: &Arc<Tty>,
    arg: UserAddr,
    mem: &dyn UserMemory,
    who: &dyn Opener,
) -> Result<i64> {
    let ctx = who.tty_context();
    match tty.check_foreground(ctx, u::SIGTTOU) {
        Err(e) if e == Errno::EIO => return err(Errno::ENOTTY),
        r => r?,
    }
    let group = get_i32(mem, arg)?;
    let Ok(group) = u32::try_from(group) else { return err(Errno::EINVAL) };
    let Some(ctx) = ctx.filter(|c| tty.controls(*c) && tty.session() == Some(c.session())) else {
        return err(Errno::ENOTTY);
    };
    match ctx.session_of_group(group) {
        None => err(Errno::ESRCH),
        Some(s) if s != ctx.session() => err(Errno::EPERM),
        Some(_) => {
            tty.with(|s| s.set_foreground(group));
            Ok(0)
        }
    }
}

/// TIOCSCTTY (`man 2 TIOCSCTTY`).
fn set_controlling(file: &TtyFile, arg: u64, who: &dyn Opener) -> Result<i64> {
    let tty = file.tty();
    let Some(ctx) = who.tty_context() else { return err(Errno::EPERM) };
    let leader = ctx.pid() == ctx.session();
    if leader && tty.session() == Some(ctx.session()) {
        return Ok(0);
    }
    let admin = who.cred().capable(Cap::SysAdmin);
    if !leader || ctx.ctty().is_some() || !(file.info.read || admin) {
        return err(Errno::EPERM);
    }
    if let Some(other) = tty.session() {
        if arg != 1 || !admin {
            return err(Errno::EPERM);
        }
        tty.signals.forget_ctty(other);
    }
    tty.set_controlling(ctx);
    Ok(0)
}
