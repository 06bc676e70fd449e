//! The console on a real pseudo-terminal: prompt, echo, line editing, job
//! control, window size, and a host terminal that is as before afterwards.

mod common;

use common::{busybox_image, umbra_bin};
use rexpect::session::{Options, PtySession, spawn_with_options};
use std::process::Command;

/// An interactive shell in the default image.
fn shell() -> PtySession {
    let mut cmd = Command::new("/bin/sh");
    // rexpect turns echo off; a person's terminal has it on.
    let script = format!(
        "stty echo; exec {} run quiet {} -- /bin/busybox env -i 'PS1=ready> ' \
         PATH=/bin:/usr/bin:/sbin /bin/busybox sh",
        umbra_bin(),
        busybox_image().display()
    );
    cmd.args(["-c", &script]);
    let options = Options::new().timeout_ms(Some(30_000)).strip_ansi_escape_codes(true);
    let mut p = spawn_with_options(cmd, options).expect("umbra starts on a pseudo-terminal");
    p.exp_string("ready> ").expect("a prompt");
    p
}

fn prompt(p: &mut PtySession) -> String {
    p.exp_string("ready> ").expect("the prompt comes back")
}

/// Runs a command line and returns what it printed. Its end is seen by a mark that the
/// echo of the line does not contain, for the shell may draw its prompt more than once.
fn line(p: &mut PtySession, text: &str) -> String {
    p.send_line(&format!("{text}; echo do''ne")).expect("the terminal takes a line");
    p.exp_string("do''ne").expect("the echo of the line");
    let out = p.exp_string("done").expect("the command ends");
    out.replace('\r', "").trim_start_matches('\n').to_owned()
}

#[test]
fn prompt_echo_and_exit_status() {
    let mut p = shell();
    assert_eq!(line(&mut p, "echo one two"), "one two\n");
    assert_eq!(line(&mut p, "tty >/dev/null && echo is a tty"), "is a tty\n");
    p.send_line("exit 5").expect("sent");
    p.exp_eof().expect("it ends");
    let status = p.process().wait().expect("our child");
    assert!(format!("{status:?}").contains(", 5)"), "{status:?}");
}

#[test]
fn control_c_stops_the_foreground() {
    let mut p = shell();
    p.send_line("sleep 100").expect("sent");
    p.exp_string("sleep 100").expect("the echo");
    std::thread::sleep(std::time::Duration::from_millis(300));
    p.send_control('c').expect("sent");
    prompt(&mut p);
    assert_eq!(line(&mut p, "echo $?"), "130\n");
    // And at an empty prompt it harms nobody.
    p.send_control('c').expect("sent");
    prompt(&mut p);
    assert_eq!(line(&mut p, "echo alive"), "alive\n");
}

#[test]
fn control_z_and_fg() {
    let mut p = shell();
    p.send_line("sleep 1").expect("sent");
    p.exp_string("sleep 1").expect("the echo");
    std::thread::sleep(std::time::Duration::from_millis(200));
    p.send_control('z').expect("sent");
    p.exp_string("Stopped").expect("the shell says so");
    prompt(&mut p);
    assert!(line(&mut p, "jobs").contains("sleep 1"));
    let out = line(&mut p, "fg; echo back $?");
    assert!(out.contains("back 0"), "{out}");
    let out = line(&mut p, "sleep 0.2 & wait; echo waited");
    assert!(out.contains("waited"), "{out}");
}

#[test]
fn canonical_editing_and_end_of_file() {
    let mut p = shell();
    p.send_line("cat").expect("sent");
    p.exp_string("cat").expect("the echo");
    std::thread::sleep(std::time::Duration::from_millis(200));
    p.send("wrong\x15righ\x7fht\n").expect("sent");
    p.exp_regex("\nright\r?\n").expect("cat repeats the corrected line");
    p.send_control('d').expect("sent");
    prompt(&mut p);
    assert_eq!(line(&mut p, "echo after"), "after\n");
}

#[test]
fn background_reader_is_stopped() {
    let mut p = shell();
    line(&mut p, "cat & true");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let out = line(&mut p, "jobs");
    assert!(out.contains("Stopped"), "{out}");
    line(&mut p, "kill -9 %1");
}

#[test]
fn the_host_terminal_is_restored() {
    let image = busybox_image();
    let mut cmd = Command::new("/bin/sh");
    let umbra = umbra_bin();
    let script = format!(
        "before=$(stty -g); {umbra} run quiet {} -- /bin/sh -c 'stty raw -echo; exit 3'; s=$?; \
         [ \"$before\" = \"$(stty -g)\" ] && echo same terminal, status $s",
        image.display()
    );
    cmd.args(["-c", &script]);
    let options = Options::new().timeout_ms(Some(30_000));
    let mut p = spawn_with_options(cmd, options).expect("a shell starts");
    p.exp_string("same terminal, status 3").expect("stty says the same before and after");
}

#[test]
fn window_size_is_passed_on() {
    let image = busybox_image();
    let mut cmd = Command::new("/bin/sh");
    let umbra = umbra_bin();
    let script = format!(
        "stty rows 33 cols 101; {umbra} run quiet {} -- /bin/sh -c 'stty size; echo end'",
        image.display()
    );
    cmd.args(["-c", &script]);
    let options = Options::new().timeout_ms(Some(30_000));
    let mut p = spawn_with_options(cmd, options).expect("a shell starts");
    p.exp_string("33 101").expect("the guest sees the host's window size");
    p.exp_string("end").expect("and ends");
}
