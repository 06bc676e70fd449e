use super::*;
use crate::hoststream::HostStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_millis(60);

fn stream(fd: impl AsFd) -> Arc<HostStream> {
    Arc::new(HostStream::inherited(fd.as_fd().as_raw_fd()).expect("stream"))
}

fn watched(s: &Arc<HostStream>, interest: Ready) -> (WatchId, Receiver<Ready>) {
    let (tx, rx) = channel();
    let tx = Mutex::new(tx);
    let callback = Box::new(move |r| lock(&tx).send(r).unwrap_or_default());
    (watch(s.clone(), interest, callback).expect("watch"), rx)
}

#[test]
fn fires_once_until_rearmed() {
    let (r, w) = nix::unistd::pipe().expect("pipe");
    let s = stream(&r);
    let (id, rx) = watched(&s, Ready::IN);
    assert!(rx.recv_timeout(QUIET).is_err());
    nix::unistd::write(&w, b"x").expect("write");
    assert_eq!(rx.recv_timeout(SOON), Ok(Ready::IN));
    nix::unistd::write(&w, b"y").expect("write");
    assert!(rx.recv_timeout(QUIET).is_err(), "nobody has read, and nobody is told again");
    rearm(id, Ready::IN).expect("rearm");
    assert_eq!(rx.recv_timeout(SOON), Ok(Ready::IN));
    let mut b = [0; 8];
    assert_eq!(s.read(&mut b), Ok(2));
    rearm(id, Ready::IN).expect("rearm");
    assert!(rx.recv_timeout(QUIET).is_err());
    drop(w);
    assert_eq!(rx.recv_timeout(SOON), Ok(Ready::IN | Ready::HANGUP));
    unwatch(id);
    unwatch(id);
    assert_eq!(rearm(id, Ready::IN).map_err(|e| e.errno()), Err(Errno::ENOENT));
}

#[test]
fn two_directions_of_one_endpoint() {
    let (a, b) = std::os::unix::net::UnixStream::pair().expect("pair");
    let s = stream(&a);
    let (id, rx) = watched(&s, Ready::empty());
    assert!(rx.recv_timeout(QUIET).is_err(), "not armed");
    rearm(id, Ready::IN).expect("rearm");
    rearm(id, Ready::OUT).expect("rearm");
    assert_eq!(rx.recv_timeout(SOON), Ok(Ready::OUT));
    nix::unistd::write(&b, b"x").expect("write");
    assert_eq!(rx.recv_timeout(SOON), Ok(Ready::IN), "still armed for input");
    let other = watch(s.clone(), Ready::IN, Box::new(|_| ()));
    assert_eq!(other.map_err(|e| e.errno()).err(), Some(Errno::EEXIST));
    unwatch(id);
}

#[test]
fn files_are_always_ready() {
    for path in ["/dev/null", "/proc/self/exe"] {
        let f = std::fs::File::open(path).expect("open");
        let s = stream(&f);
        let (id, rx) = watched(&s, Ready::IN);
        assert_eq!(rx.recv_timeout(SOON), Ok(Ready::IN), "{path}");
        assert!(rx.recv_timeout(QUIET).is_err(), "one-shot too");
        rearm(id, Ready::IN).expect("rearm");
        assert_eq!(rx.recv_timeout(SOON), Ok(Ready::IN), "{path}");
        unwatch(id);
    }
}

/// The body of a process of its own, run by `signals_in_a_process`.
#[test]
#[ignore = "only as the child of signals_in_a_process"]
fn child() {
    let what = std::env::var("UMBRA_INTR_CHILD").unwrap_or_default();
    block_signals().expect("block");
    start().expect("start");
    if what == "callback" {
        on_signal(libc::SIGTERM, || std::process::exit(7)).expect("handler");
        assert!(on_signal(libc::SIGUSR1, || ()).is_err());
    }
    // SAFETY: no memory involved.
    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
    std::thread::sleep(SOON);
}

#[test]
fn signals_in_a_process() {
    let run = |what: &str| {
        let mut c = std::process::Command::new(std::env::current_exe().expect("own path"));
        c.args(["--exact", "intr::tests::child", "--ignored"]).env("UMBRA_INTR_CHILD", what);
        c.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        // The test harness has threads before our code runs: block in their parent.
        // SAFETY: sigprocmask between fork and exec is async-signal-safe.
        unsafe { c.pre_exec(|| our_signals().thread_block().map_err(std::io::Error::from)) };
        c.status().expect("run")
    };
    assert_eq!(run("callback").code(), Some(7));
    assert_eq!(run("default").signal(), Some(libc::SIGTERM));
}
