//! Path walks, mounts and permissions, over tmpfs.

use base::Errno;

use crate::OpenFlags;
use crate::inode::FileType;
use crate::ops;
use crate::testing::Fixture;
use crate::walk::{LookupFlags, lookup};

fn tree() -> Fixture {
    let k = Fixture::new();
    for d in ["/a", "/a/b", "/a/b/c", "/d", "/mnt"] {
        k.mkdir(d).unwrap();
    }
    k.write("/a/f", "hello").unwrap();
    k.symlink("f", "/a/l").unwrap();
    k.symlink("/a/b", "/abs").unwrap();
    k.symlink("../a/b", "/d/rel").unwrap();
    k.symlink("loop", "/loop").unwrap();
    k.symlink("/nowhere", "/dangling").unwrap();
    k
}

#[test]
fn names_lead_where_they_say() {
    let k = tree();
    for (name, want) in [
        ("/", "/"),
        ("//a///b/", "/a/b"),
        ("/a/./b/../f", "/a/f"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/l", "/a/f"),
        ("/abs/c", "/a/b/c"),
        ("/d/rel/c/../c", "/a/b/c"),
        ("/d/rel/..", "/a"),
        ("/abs/", "/a/b"),
        (".", "/"),
    ] {
        assert_eq!(k.path_of(name), want, "{name}");
    }
}

#[test]
fn bad_names_fail_as_on_linux() {
    let k = tree();
    let long = format!("/{}", "x".repeat(256));
    let very_long = "/x".repeat(2100);
    for (name, want) in [
        ("", Errno::ENOENT),
        ("/none", Errno::ENOENT),
        ("/none/x", Errno::ENOENT),
        ("/a/f/x", Errno::ENOTDIR),
        ("/a/f/", Errno::ENOTDIR),
        ("/a/f/..", Errno::ENOTDIR),
        ("/a/l/", Errno::ENOTDIR),
        ("/loop", Errno::ELOOP),
        ("/loop/x", Errno::ELOOP),
        ("/dangling", Errno::ENOENT),
        (&long, Errno::ENAMETOOLONG),
        (&very_long, Errno::ENAMETOOLONG),
    ] {
        assert_eq!(k.find(name).unwrap_err(), want, "{name}");
    }
    let f = k.find_with("/loop", LookupFlags::empty()).unwrap();
    assert_eq!(f.inode().kind, FileType::Symlink);
    let text = ops::readlink(&k.ctx, &k.find_with("/abs", LookupFlags::empty()).unwrap()).unwrap();
    assert_eq!(text, b"/a/b");
}

#[test]
fn a_chroot_is_not_left_by_dots_or_links() {
    let k = tree();
    k.symlink("/../../../d", "/a/out").unwrap();
    let a = k.find("/a").unwrap();
    ops::chroot(&k.ctx, &k.cred, a.clone()).unwrap();
    ops::chdir(&k.ctx, &k.cred, a).unwrap();
    assert_eq!(k.path_of("/.."), "/");
    assert_eq!(k.path_of("../../b/c/../.."), "/");
    assert_eq!(k.find("/out").unwrap_err(), Errno::ENOENT);
    assert_eq!(k.path_of("/b"), "/b");
    assert_eq!(k.ctx.getcwd().unwrap(), b"/");
}

#[test]
fn resolve_flags_give_their_errors() {
    let k = tree();
    k.mount("x", "/mnt", "tmpfs", 0).unwrap();
    let a = k.find("/a").unwrap();
    let go = |name: &str, flags: LookupFlags| {
        lookup(&k.ctx, &k.cred, Some(&a), name.as_bytes(), flags | LookupFlags::FOLLOW)
            .map(|p| String::from_utf8(p.name_from(&k.ctx.root()).0).unwrap())
            .map_err(|e| e.errno())
    };
    use LookupFlags as F;
    assert_eq!(go("b/c", F::BENEATH), Ok("/a/b/c".into()));
    assert_eq!(go("b/../f", F::BENEATH), Ok("/a/f".into()));
    assert_eq!(go("..", F::BENEATH), Err(Errno::EXDEV));
    assert_eq!(go("/a", F::BENEATH), Err(Errno::EXDEV));
    assert_eq!(go("../d", F::IN_ROOT), Err(Errno::ENOENT));
    assert_eq!(go("/../b", F::IN_ROOT), Ok("/a/b".into()));
    assert_eq!(go("l", F::NO_SYMLINKS), Err(Errno::ELOOP));
    assert_eq!(go("/mnt", F::NO_XDEV), Err(Errno::EXDEV));
    assert_eq!(go("../mnt", F::NO_XDEV), Err(Errno::EXDEV));
    assert_eq!(go("b", F::CACHED), Ok("/a/b".into()));
    assert_eq!(go("never-asked", F::CACHED), Err(Errno::EAGAIN));
    assert_eq!(LookupFlags::from_resolve(0x18).unwrap_err(), Errno::EINVAL);
    assert_eq!(LookupFlags::from_resolve(1 << 9).unwrap_err(), Errno::EINVAL);
}

#[test]
fn mounts_hide_stack_and_come_off() {
    let k = tree();
    k.mount("one", "/mnt", "tmpfs", 0).unwrap();
    k.write("/mnt/x", "1").unwrap();
    k.mount("two", "/mnt", "tmpfs", 0).unwrap();
    assert!(k.names("/mnt").is_empty());
    k.write("/mnt/y", "2").unwrap();
    assert_eq!(k.path_of("/mnt/y"), "/mnt/y");
    assert_eq!(k.path_of("/mnt/.."), "/");
    assert_eq!(k.rmdir("/mnt").unwrap_err(), Errno::EBUSY);
    let open = k.open("/mnt/y", OpenFlags::empty()).unwrap();
    assert_eq!(k.umount("/mnt", 0).unwrap_err(), Errno::EBUSY);
    k.umount("/mnt", 2).unwrap();
    assert_eq!(k.names("/mnt"), ["x"]);
    drop(open);
    k.umount("/mnt", 0).unwrap();
    assert_eq!(k.umount("/mnt", 0).unwrap_err(), Errno::EINVAL);
    assert_eq!(k.umount("/", 0).unwrap_err(), Errno::EBUSY);
    assert_eq!(k.mount("x", "/a/f", "tmpfs", 0).unwrap_err(), Errno::ENOTDIR);
    assert_eq!(k.mount("x", "/mnt", "nonsense", 0).unwrap_err(), Errno::ENODEV);
    assert_eq!(k.as_user(7).mount("x", "/mnt", "tmpfs", 0).unwrap_err(), Errno::EPERM);
}

#[test]
fn bind_mounts_show_the_same_files() {
    let k = tree();
    k.mount("/a", "/mnt", "", 4096).unwrap();
    assert_eq!(k.read("/mnt/f").unwrap(), "hello");
    k.write("/mnt/g", "new").unwrap();
    assert_eq!(k.read("/a/g").unwrap(), "new");
    assert_eq!(k.path_of("/mnt/b/.."), "/mnt");
    assert_eq!(k.rename("/mnt/f", "/a/h").unwrap_err(), Errno::EXDEV);
    // Read-only for this mount alone.
    k.mount("", "/mnt", "", 4096 | 32 | 1).unwrap();
    assert_eq!(k.write("/mnt/f", "x").unwrap_err(), Errno::EROFS);
    assert_eq!(k.mkdir("/mnt/z").unwrap_err(), Errno::EROFS);
    assert_eq!(k.mkdir("/mnt/b").unwrap_err(), Errno::EEXIST);
    k.write("/a/f", "x").unwrap();
    k.umount("/mnt", 0).unwrap();
}

#[test]
fn rbind_move_and_pivot() {
    let k = tree();
    k.mount("t", "/a/b", "tmpfs", 0).unwrap();
    k.write("/a/b/deep", "d").unwrap();
    k.mount("/a", "/mnt", "", 4096 | 16384).unwrap();
    assert_eq!(k.read("/mnt/b/deep").unwrap(), "d");
    k.mount("/mnt/b", "/d", "", 8192).unwrap();
    assert_eq!(k.read("/d/deep").unwrap(), "d");
    assert!(k.names("/mnt/b").contains(&"c".to_owned()));
    k.mount("/d", "/d", "", 8192).unwrap_err();
    k.mkdir("/d/old").unwrap();
    let (old, new) = ops::pivot_root(&k.ctx, &k.cred, b"/d", b"/d/old").unwrap();
    k.ctx.replace(&old, &new);
    assert_eq!(k.read("/deep").unwrap(), "d");
    assert_eq!(k.read("/old/a/f").unwrap(), "hello");
    assert_eq!(k.path_of("/old/a/.."), "/old");
}

#[test]
fn a_copied_namespace_is_apart() {
    let k = tree();
    let other = k.as_user(0);
    other.ctx.unshare_ns();
    k.mount("t", "/mnt", "tmpfs", 0).unwrap();
    k.write("/mnt/x", "x").unwrap();
    let root = Fixture { cred: k.cred.clone(), ..other };
    assert_eq!(root.read("/mnt/x").unwrap_err(), Errno::ENOENT);
    assert_eq!(root.read("/a/f").unwrap(), "hello");
}

#[test]
fn permissions_follow_the_mode() {
    let k = tree();
    let u = k.as_user(7);
    let chmod = |n: &str, m| ops::chmod(&k.cred, &k.find(n).unwrap(), m).unwrap();
    let open = |n: &str, f| u.open(n, f).map(|_| ()).map_err(|e| e.errno());
    let rd = OpenFlags::empty();
    let wr = OpenFlags::WRONLY;
    assert_eq!(open("/a/f", rd), Ok(()));
    assert_eq!(open("/a/f", wr), Err(Errno::EACCES));
    chmod("/a", 0o700);
    assert_eq!(open("/a/f", rd), Err(Errno::EACCES));
    chmod("/a", 0o711);
    assert_eq!(open("/a/f", rd), Ok(()));
    assert_eq!(open("/a", rd), Err(Errno::EACCES));
    assert_eq!(u.write("/a/new", "x").unwrap_err(), Errno::EACCES);
    assert_eq!(u.unlink("/a/f").unwrap_err(), Errno::EACCES);
    chmod("/a", 0o1777);
    assert_eq!(u.unlink("/a/f").unwrap_err(), Errno::EPERM);
    u.write("/a/mine", "x").unwrap();
    u.unlink("/a/mine").unwrap();
    let f = k.find("/a/f").unwrap();
    assert_eq!(ops::chmod(&u.cred, &f, 0o777).unwrap_err(), Errno::EPERM);
    assert_eq!(ops::chown(&u.cred, &f, Some(7), None).unwrap_err(), Errno::EPERM);
    chmod("/a/f", 0o6755);
    ops::chown(&k.cred, &f, Some(7), Some(7)).unwrap();
    assert_eq!(ops::stat(&f).unwrap().perm, 0o755, "chown clears set-id bits");
    ops::chmod(&u.cred, &f, 0o4755).unwrap();
    let w = u.open("/a/f", wr).unwrap();
    w.write(&mut base::iobuf::SliceSource(b"x"), u64::MAX).unwrap();
    assert_eq!(ops::stat(&f).unwrap().perm, 0o755, "a write clears them");
    assert!(ops::access(&u.cred, &f, 6, false).is_ok());
    assert_eq!(ops::access(&k.as_user(8).cred, &f, 2, false).unwrap_err(), Errno::EACCES);
}

#[test]
fn set_group_id_directories_pass_their_group_on() {
    let k = tree();
    let d = k.find("/d").unwrap();
    ops::chown(&k.cred, &d, None, Some(50)).unwrap();
    ops::chmod(&k.cred, &d, 0o2777).unwrap();
    let u = k.as_user(7);
    u.write("/d/x", "").unwrap();
    u.mkdir("/d/sub").unwrap();
    assert_eq!(ops::stat(&u.find("/d/x").unwrap()).unwrap().gid, 50);
    let sub = ops::stat(&u.find("/d/sub").unwrap()).unwrap();
    assert_eq!((sub.gid, sub.perm), (50, 0o2755));
}
