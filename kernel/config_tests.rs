use super::*;

fn parse(words: &str) -> Result<Config, String> {
    let mut c = Config::default();
    for w in words.split_whitespace() {
        c.set(w)?;
    }
    c.check()?;
    Ok(c)
}

#[test]
fn a_whole_line() {
    let c = parse(
        "mem=1G ubd1=b.img,ro ubd0=a.img root=/dev/ubda rootfstype=ext4 rw init=/bin/bash quiet \
         hostname=box ncpus=1 backend=ptrace con1=pts console=tty1 seed=7 panic=-1",
    )
    .unwrap();
    assert_eq!(c.memory, 1 << 30);
    assert_eq!(c.disks.len(), 2);
    assert_eq!(
        c.disks[1],
        DiskConfig { index: 1, path: "b.img".into(), access: DiskAccess::ReadOnly }
    );
    assert_eq!((c.root_rw, c.console_level(), c.console), (Some(true), 4, 1));
    assert_eq!((c.init.as_deref(), c.hostname.as_str()), (Some("/bin/bash"), "box"));
    assert_eq!((c.seed, c.consoles[&1].as_str()), (Some(7), "pts"));
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("16M", 16u64 << 20),
        ("16384k", 16 << 20),
        ("16777216", 16 << 20),
        ("2G", 2 << 30),
        ("1T", 1 << 40),
    ] {
        assert_eq!(parse(&format!("mem={text} ubd0=x")).unwrap().memory, bytes, "{text}");
    }
}

#[test]
fn switches() {
    let c = |s: &str| parse(&format!("ubd0=x {s}")).unwrap();
    assert!(c("").patch == Patch::Auto && c("").lockdown);
    assert!(c("patch=on").patch == Patch::On && c("patch=on patch=off").patch == Patch::Off);
    assert!(!c("lockdown=off").lockdown);
}

#[test]
fn traces() {
    let t = |s: &str| parse(&format!("ubd0=x trace={s}")).map(|c| c.trace.unwrap());
    let both = Category::Syscall as u32 | Category::Block as u32;
    assert_eq!(t("syscall,block").unwrap(), TraceConfig { mask: both, file: None });
    assert_eq!(t("all:/tmp/t.json").unwrap().file, Some("/tmp/t.json".into()));
    assert!(t("syscal").unwrap_err().contains("did you mean `syscall`"));
    assert!(t("syscall:").unwrap_err().contains("file"));
}

#[test]
fn every_refusal_names_its_parameter() {
    for (words, part) in [
        ("mem=", "mem: a value is missing"),
        ("mem", "mem: a value is missing"),
        ("mem=512Q", "mem=512Q: expected a size"),
        ("mem=M", "mem=M: expected a size"),
        ("mem=4M", "mem=4M: too small"),
        ("mem=99999999999999999999", "mem="),
        ("mem=99999999T", "mem=99999999T: that is too much"),
        ("ubd0=a ubd0=b", "ubd0 is given twice"),
        ("ubd26=a", "ubd26: there are disks"),
        ("ubd0=,ro", "ubd0=,ro: the image's name is missing"),
        ("rw=1", "rw is a flag"),
        ("init=bash", "init=bash: expected an absolute path"),
        ("loglevel=9", "loglevel=9: expected"),
        ("loglevel=x", "loglevel=x: expected"),
        ("ncpus=4", "ncpus=4: the machine has one"),
        ("backend=kvm", "backend=kvm: expected shm, ptrace or auto"),
        ("handoff=mwait", "handoff=mwait: expected spin, futex or auto"),
        ("panic=soon", "panic=soon: expected"),
        ("seed=x", "seed=x: expected"),
        ("console=ttyS0", "console=ttyS0: expected"),
        ("ubd0=x console=tty3", "console=tty3: there is no con3="),
        ("con64=null", "con64: there are consoles"),
        ("lockdown=maybe", "lockdown=maybe: expected"),
        ("patch=1", "patch=1: expected on, off or auto"),
        ("quiet", "no root file system"),
        ("men=512M", "unknown parameter `men`; did you mean `mem`?"),
        ("ubdo=x", "unknown parameter `ubdo`; did you mean `ubd0`?"),
        ("ubb3=x", "unknown parameter `ubb3`; did you mean `ubd3`?"),
        ("cno1=pts", "unknown parameter `cno1`; did you mean `con1`?"),
        ("rootfs=ext4", "unknown parameter `rootfs`; did you mean `rootfstype`?"),
        ("qiet", "unknown parameter `qiet`; did you mean `quiet`?"),
        ("frobnicate=1", "unknown parameter `frobnicate`; `umbra --help`"),
    ] {
        let e = parse(words).expect_err(words);
        assert!(e.contains(part), "{words}: {e}");
        assert!(!e.contains('\n'));
    }
}

#[test]
fn parameters_and_images() {
    for (word, yes) in [
        ("rw", true),
        ("quiet", true),
        ("mem=1G", true),
        ("mme=1G", true),
        ("debian.ext4", false),
        ("./a=b.img", false),
        ("dir/x=y", false),
        ("=x", false),
        ("mem", false),
    ] {
        assert_eq!(looks_like_parameter(word), yes, "{word}");
    }
}
