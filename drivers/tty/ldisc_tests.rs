//! The line discipline against tables: what is typed, what is echoed, what is read.

use proptest::prelude::*;

use super::*;

fn ldisc(change: impl Fn(&mut Termios)) -> Ldisc {
    let mut t = Termios::default();
    change(&mut t);
    Ldisc::new(t)
}

fn echo(l: &mut Ldisc) -> Vec<u8> {
    let mut v = Vec::new();
    l.out.take(&mut v, usize::MAX);
    v
}

/// All reads that do not block; an end of file shows as `<EOF>`.
fn reads(l: &mut Ldisc, max: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut v = Vec::new();
        match l.take(&mut v, max) {
            Some(0) => all.push(b"<EOF>".to_vec()),
            Some(_) => all.push(v),
            None => return all,
        }
    }
}

struct Case {
    name: &'static str,
    change: fn(&mut Termios),
    typed: &'static [u8],
    echoed: &'static [u8],
    read: &'static [&'static [u8]],
}

const fn case(
    name: &'static str,
    change: fn(&mut Termios),
    typed: &'static [u8],
    echoed: &'static [u8],
    read: &'static [&'static [u8]],
) -> Case {
    Case { name, change, typed, echoed, read }
}

fn same(_: &mut Termios) {}

const CASES: &[Case] = &[
    case("a line", same, b"hi\r", b"hi\r\n", &[b"hi\n"]),
    case("two lines", same, b"a\nb\n", b"a\r\nb\r\n", &[b"a\n", b"b\n"]),
    case("no end yet", same, b"abc", b"abc", &[]),
    case("end of file", same, b"\x04", b"", &[b"<EOF>"]),
    case("push without newline", same, b"ab\x04", b"ab", &[b"ab"]),
    case("push, then end", same, b"ab\x04\x04", b"ab", &[b"ab", b"<EOF>"]),
    case("erase", same, b"abc\x7f\x7fx\n", b"abc\x08 \x08\x08 \x08x\r\n", &[b"ax\n"]),
    case("erase at the start", same, b"\x7fa\n", b"a\r\n", &[b"a\n"]),
    case("erase a control", same, b"\x01\x7f\n", b"^A\x08 \x08\x08 \x08\r\n", &[b"\n"]),
    case("erase not past the line", same, b"a\n\x7f\x04", b"a\r\n", &[b"a\n", b"<EOF>"]),
    case("kill", same, b"ab\x15c\n", b"ab\x08 \x08\x08 \x08c\r\n", &[b"c\n"]),
    case("kill, ECHOK", |t| t.lflag &= !u::ECHOKE, b"ab\x15c\n", b"ab^U\r\nc\r\n", &[b"c\n"]),
    case("word", same, b"ab cd \x17x\n", b"ab cd \x08 \x08\x08 \x08\x08 \x08x\r\n", &[b"ab x\n"]),
    case("erase, no ECHOE", |t| t.lflag &= !u::ECHOE, b"ab\x7f\n", b"ab^?\r\n", &[b"a\n"]),
    case("ECHOPRT", |t| t.lflag |= u::ECHOPRT, b"abc\x7f\x7fd\n", b"abc\\cb/d\r\n", &[b"ad\n"]),
    case("no echo", |t| t.lflag &= !u::ECHO, b"a\x7fb\n", b"", &[b"b\n"]),
    case("ECHONL", |t| t.lflag = (t.lflag & !u::ECHO) | u::ECHONL, b"pw\n", b"\r\n", &[b"pw\n"]),
    case("literal", same, b"\x16\x03\n", b"^\x08^C\r\n", &[b"\x03\n"]),
    case("literal newline", same, b"a\x16\nb\n", b"a^\x08^Jb\r\n", &[b"a\nb\n"]),
    case("reprint", same, b"ab\x12c\n", b"ab^R\r\nabc\r\n", &[b"abc\n"]),
    case("erase a tab", same, b"a\t\x7fb\n", b"a\t\x08\x08\x08\x08\x08\x08\x08b\r\n", &[b"ab\n"]),
    case("EOL", |t| t.cc[VEOL] = b';', b"a;b;", b"a;b;", &[b"a;", b"b;"]),
    case("EOL2", |t| t.cc[VEOL2] = b'#', b"a#", b"a#", &[b"a#"]),
    case("NUL is data", same, b"a\0b\n", b"a^@b\r\n", &[b"a\0b\n"]),
    case("IGNCR", |t| t.iflag |= u::IGNCR, b"a\r\n", b"a\r\n", &[b"a\n"]),
    case("INLCR", |t| t.iflag = u::INLCR, b"a\nb\x04", b"a^Mb", &[b"a\rb"]),
    case("ISTRIP", |t| t.iflag |= u::ISTRIP, b"\xe1\n", b"a\r\n", &[b"a\n"]),
    case("IUCLC", |t| t.iflag |= u::IUCLC, b"AbC\n", b"abc\r\n", &[b"abc\n"]),
    case(
        "utf-8 erase",
        |t| t.iflag |= u::IUTF8,
        "aé€\x7f\x7f\n".as_bytes(),
        b"a\xc3\xa9\xe2\x82\xac\x08 \x08\x08 \x08\r\n",
        &[b"a\n"],
    ),
    case("bytes without IUTF8", same, b"\xc3\xa9\x7f\n", b"\xc3\xa9\x08 \x08\r\n", &[b"\xc3\n"]),
    case(
        "utf-8 word",
        |t| t.iflag |= u::IUTF8,
        "x éa\x17\n".as_bytes(),
        b"x \xc3\xa9a\x08 \x08\x08 \x08\r\n",
        &[b"x \n"],
    ),
    case("raw", |t| t.lflag = 0, b"a\r\x03\x04\x7f", b"", &[b"a\n\x03\x04\x7f"]),
    case(
        "raw, no iflag",
        |t| (t.lflag, t.iflag) = (0, 0),
        b"\r\x13\x11\xff",
        b"",
        &[b"\r\x13\x11\xff"],
    ),
    case(
        "raw echo",
        |t| t.lflag = u::ECHO | u::ECHOCTL,
        b"a\r\n\x01\t",
        b"a\r\n^J^A\t",
        &[b"a\n\n\x01\t"],
    ),
    case("PARMRK", |t| (t.lflag, t.iflag) = (0, u::PARMRK), b"a\xffb", b"", &[b"a\xff\xffb"]),
    case("interrupt discards", same, b"abc\x03d\n", b"^Cd\r\n", &[b"d\n"]),
    case("NOFLSH keeps", |t| t.lflag |= u::NOFLSH, b"abc\x03d\n", b"abc^Cd\r\n", &[b"abcd\n"]),
    case("no ISIG", |t| t.lflag &= !u::ISIG, b"\x03\x1a\n", b"^C^Z\r\n", &[b"\x03\x1a\n"]),
    case("disabled erase", |t| t.cc[VERASE] = 0, b"a\x7f\n", b"a^?\r\n", &[b"a\x7f\n"]),
    case("no IEXTEN", |t| t.lflag &= !u::IEXTEN, b"\x17\x16\n", b"^W^V\r\n", &[b"\x17\x16\n"]),
];

#[test]
fn typing() {
    for c in CASES {
        let mut l = ldisc(c.change);
        assert_eq!(l.receive(c.typed), c.typed.len(), "{}", c.name);
        let shown = echo(&mut l);
        assert_eq!(
            shown.escape_ascii().to_string(),
            c.echoed.escape_ascii().to_string(),
            "echo of {}",
            c.name
        );
        assert_eq!(reads(&mut l, 100), c.read, "{}", c.name);
        // Byte by byte is no different.
        let mut l = ldisc(c.change);
        for b in c.typed {
            assert_eq!(l.receive(&[*b]), 1);
        }
        assert_eq!(
            (echo(&mut l), reads(&mut l, 100)),
            (shown, c.read.iter().map(|r| r.to_vec()).collect())
        );
    }
}

#[test]
fn signals_and_their_switch() {
    let mut l = ldisc(same);
    l.receive(b"\x03\x1c\x1a");
    assert_eq!(std::mem::take(&mut l.events.signals), [u::SIGINT, u::SIGQUIT, u::SIGTSTP]);
    let mut l = ldisc(|t| t.lflag &= !u::ISIG);
    l.receive(b"\x03\x1c\x1a");
    assert!(l.events.signals.is_empty());
}

#[test]
fn short_reads_keep_the_rest_and_swallow_a_following_eof() {
    let mut l = ldisc(same);
    l.receive(b"abcdef\n");
    assert_eq!(reads(&mut l, 4), [&b"abcd"[..], b"ef\n"]);
    l.receive(b"abcd\x04x\n");
    assert_eq!(reads(&mut l, 4), [&b"abcd"[..], b"x\n"]);
    assert_eq!(l.input_len(), 0);
    l.receive(b"abcd\x04");
    assert_eq!(l.input_len(), 4);
}

#[test]
fn flow_control() {
    let mut l = ldisc(same);
    assert_eq!(l.write(b"one"), 3);
    l.receive(b"\x13");
    assert_eq!(l.write(b"two"), 0);
    l.receive(b"e");
    assert_eq!(echo(&mut l), b"one");
    assert_eq!(u32::from(l.events.packet), u::TIOCPKT_STOP);
    l.receive(b"\x11");
    assert_eq!(l.write(b"two"), 3);
    assert_eq!(echo(&mut l), b"etwo");
    // Any character restarts with IXANY, an interrupt always.
    let mut l = ldisc(|t| t.iflag |= u::IXANY);
    l.receive(b"\x13x");
    assert!(!l.out.stopped());
    let mut l = ldisc(same);
    l.receive(b"\x13x");
    assert!(l.out.stopped());
    l.receive(b"\x03");
    assert!(!l.out.stopped());
    // What TCXONC stopped only TCXONC starts.
    l.set_output_stopped(true);
    l.receive(b"\x11\x03");
    assert!(l.out.stopped());
    l.set_output_stopped(false);
    assert!(!l.out.stopped());
    // Switching IXON off lets go.
    l.receive(b"\x13");
    let mut t = *l.termios();
    t.iflag &= !u::IXON;
    l.set_termios(t);
    assert!(!l.out.stopped());
}

#[test]
fn a_line_has_4095_characters_and_its_end() {
    let mut l = ldisc(|t| t.lflag &= !u::ECHO);
    assert_eq!(l.receive(&[b'x'; 5000]), 5000);
    assert!(!l.readable(false));
    assert_eq!(l.receive(b"\n"), 1);
    let r = reads(&mut l, 10_000);
    assert_eq!((r.len(), r[0].len()), (1, 4096));
    assert_eq!(r[0][4094..], *b"x\n");
    // Complete lines push back instead.
    let line = [b'y'; 100];
    let mut taken = 0;
    for _ in 0..50 {
        taken += l.receive(&line);
        taken += l.receive(b"\n");
    }
    assert!((4000..=4096).contains(&taken), "{taken}");
    assert!(reads(&mut l, 10_000).len() >= 40);
    // So does raw input.
    let mut l = ldisc(|t| t.lflag = 0);
    assert_eq!(l.receive(&[0; 5000]), 4095);
}

#[test]
fn changing_the_mode_keeps_what_was_typed() {
    let mut l = ldisc(same);
    l.receive(b"abc");
    let canonical = *l.termios();
    let raw = Termios { lflag: 0, ..canonical };
    l.set_termios(raw);
    assert!(l.readable(false) && l.events.readable);
    let mut v = Vec::new();
    l.take(&mut v, 1);
    l.set_termios(canonical);
    assert_eq!(reads(&mut l, 10), [b"bc"]);
    l.receive(b"d\n");
    assert_eq!(reads(&mut l, 10), [b"d\n"]);
}

#[test]
fn vmin_counts_for_poll_only_without_vtime() {
    let mut l = ldisc(|t| {
        t.lflag = 0;
        t.cc[VMIN] = 3;
    });
    l.receive(b"ab");
    assert!(l.readable(false) && !l.readable(true));
    l.receive(b"c");
    assert!(l.readable(true));
    assert_eq!(l.read_terms(), ReadTerms { min: 3, time: 0, poll: false });
}

/// What a terminal shows of `shown`, with a tab as wide as it is: the last line.
fn screen(shown: &[u8]) -> String {
    let mut line: Vec<char> = Vec::new();
    let mut at = 0;
    for &c in shown {
        match c {
            8 => at = at.max(1) - 1,
            b'\r' => at = 0,
            b'\n' => line.clear(),
            _ => {
                line.truncate(line.len().max(at));
                if at < line.len() {
                    line[at] = c.into();
                } else {
                    line.push(c.into());
                }
                at += 1;
            }
        }
    }
    line.iter().collect::<String>().trim_end().to_owned()
}

proptest! {
    #[test]
    fn never_panics_and_stays_bounded(
        iflag in any::<u32>(), oflag in any::<u32>(), lflag in any::<u32>(),
        cc in proptest::array::uniform19(any::<u8>()),
        steps in proptest::collection::vec((0u8..8, proptest::collection::vec(any::<u8>(), 0..600)), 0..40),
    ) {
        let t = Termios { iflag, oflag, lflag, cc, ..Termios::default() };
        let mut l = Ldisc::new(t);
        for (what, data) in steps {
            match what {
                0..=2 => { l.receive(&data); }
                3 => { l.write(&data); }
                4 => { reads(&mut l, data.len().max(1)); }
                5 => { echo(&mut l); }
                6 => l.set_termios(Termios { lflag: lflag ^ data.len() as u32, ..t }),
                _ => {
                    l.set_output_stopped(data.len() % 2 == 0);
                    if data.len() % 7 == 0 { l.flush_input(); }
                    if data.len() % 11 == 0 { l.flush_output(); }
                }
            }
            prop_assert!(l.input_len() <= SIZE);
            prop_assert!(l.out.len() <= super::super::output::CAPACITY + 4200);
            l.events = Events::default();
        }
    }

    /// However one edits a line, the screen shows what will be read.
    #[test]
    fn the_screen_tells_the_truth(keys in proptest::collection::vec(
        prop_oneof![4 => b'a'..=b'z', 1 => Just(b' '), 2 => Just(0x7f), 1 => Just(0x17), 1 => Just(0x15)],
        0..60,
    )) {
        let mut l = ldisc(same);
        l.receive(&keys);
        let shown = screen(&echo(&mut l));
        l.receive(b"\x04");
        let line = reads(&mut l, 4096).concat();
        let line = if line == b"<EOF>" { Vec::new() } else { line };
        prop_assert_eq!(shown, String::from_utf8(line).unwrap().trim_end().to_owned());
    }

    /// Raw mode is a pipe.
    #[test]
    fn raw_is_transparent(chunks in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..3000), 0..12), max in 1usize..5000,
    ) {
        let mut l = ldisc(|t| (t.iflag, t.oflag, t.lflag) = (0, 0, 0));
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        for c in chunks {
            let n = l.receive(&c);
            sent.extend_from_slice(&c[..n]);
            let mut v = Vec::new();
            l.take(&mut v, max);
            got.extend(v);
        }
        got.extend(reads(&mut l, max).concat());
        prop_assert!(sent == got);
        prop_assert!(echo(&mut l).is_empty());
    }
}
