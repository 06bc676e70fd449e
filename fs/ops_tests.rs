//! open, rename, unlink, data: the calls of the VFS over tmpfs.

use base::Errno;
use base::iobuf::{SliceSource, VecSink};

use crate::OpenFlags as O;
use crate::inode::{FileType, RenameFlags};
use crate::ops::{self, OpenHow, SetTime};
use crate::testing::{Fixture, Who};
use crate::walk::LookupFlags;

#[test]
fn open_flags() {
    let k = Fixture::new();
    k.mkdir("/d").unwrap();
    k.write("/f", "abc").unwrap();
    k.symlink("f", "/l").unwrap();
    k.symlink("made", "/dangling").unwrap();
    k.symlink("d", "/dl").unwrap();
    let e = |n: &str, f| k.open(n, f).map(|_| ()).map_err(|e| e.errno());
    assert_eq!(e("/f", O::CREAT | O::EXCL), Err(Errno::EEXIST));
    assert_eq!(e("/l", O::CREAT | O::EXCL), Err(Errno::EEXIST));
    assert_eq!(e("/dangling", O::CREAT | O::EXCL), Err(Errno::EEXIST));
    assert_eq!(e("/dangling", O::CREAT | O::WRONLY), Ok(()));
    assert_eq!(k.names("/"), ["d", "dangling", "dl", "f", "l", "made"]);
    assert_eq!(e("/d", O::WRONLY), Err(Errno::EISDIR));
    assert_eq!(e("/d", O::CREAT), Err(Errno::EISDIR));
    assert_eq!(e("/new/", O::CREAT), Err(Errno::EISDIR));
    assert_eq!(e("/f", O::DIRECTORY), Err(Errno::ENOTDIR));
    assert_eq!(e("/l", O::NOFOLLOW), Err(Errno::ELOOP));
    assert_eq!(e("/l", O::NOFOLLOW | O::PATH), Ok(()));
    assert_eq!(e("/dl", O::NOFOLLOW | O::DIRECTORY), Err(Errno::ENOTDIR));
    assert_eq!(e("/dl/", O::NOFOLLOW), Ok(()));
    assert_eq!(e("/d", O::CREAT | O::DIRECTORY), Err(Errno::EINVAL));
    assert_eq!(e("/d", O::TMPFILE_BIT | O::RDWR), Err(Errno::EINVAL));
    k.open("/f", O::WRONLY | O::TRUNC).unwrap();
    assert_eq!(k.read("/f").unwrap(), "");
    let inode = k.find("/f").unwrap().inode().clone();
    inode.vfs.deny_write().unwrap();
    assert_eq!(e("/f", O::WRONLY), Err(Errno::ETXTBSY));
    inode.vfs.allow_write();
    let w = k.open("/f", O::WRONLY).unwrap();
    assert_eq!(inode.vfs.deny_write().unwrap_err(), Errno::ETXTBSY);
    drop(w);
    inode.vfs.deny_write().unwrap();
}

#[test]
fn data_goes_in_and_comes_out() {
    let k = Fixture::new();
    let f = k.open("/f", O::RDWR | O::CREAT).unwrap();
    let data: Vec<u8> = (0..20_000u32).map(|i| (i % 251) as u8).collect();
    assert_eq!(f.write(&mut SliceSource(&data), u64::MAX).unwrap(), data.len());
    assert_eq!(f.seek(0, 100).unwrap(), 100);
    let mut s = VecSink::new(50_000);
    assert_eq!(f.read(&mut s).unwrap(), data.len() - 100);
    assert_eq!(s.data, data[100..]);
    // A hole, and data after it.
    f.write_at(1 << 20, &mut SliceSource(b"end"), u64::MAX).unwrap();
    assert_eq!(f.seek(3, 0).unwrap(), 0);
    assert_eq!(f.seek(4, 0).unwrap(), 20_480);
    assert_eq!(f.seek(3, 30_000).unwrap(), 1 << 20);
    assert_eq!(f.seek(3, 2 << 20).unwrap_err(), Errno::ENXIO);
    let mut s = VecSink::new(10);
    f.read_at(500_000, &mut s).unwrap();
    assert_eq!(s.data, [0; 10]);
    assert_eq!(ops::stat(&f.path).unwrap().blocks, 6 * 8);
    // Truncated and grown again: zeros.
    ops::ftruncate(&f, 10, u64::MAX).unwrap();
    ops::ftruncate(&f, 20, u64::MAX).unwrap();
    let mut s = VecSink::new(100);
    f.read_at(0, &mut s).unwrap();
    assert_eq!(s.data, [&data[..10], &[0; 10]].concat());
    // RLIMIT_FSIZE.
    assert_eq!(f.write_at(18, &mut SliceSource(b"abcd"), 20).unwrap(), 2);
    assert_eq!(f.write_at(20, &mut SliceSource(b"abcd"), 20).unwrap_err(), Errno::EFBIG);
    assert_eq!(ops::ftruncate(&f, 21, 20).unwrap_err(), Errno::EFBIG);
    let a = k.open("/f", O::WRONLY | O::APPEND).unwrap();
    a.write(&mut SliceSource(b"xy"), u64::MAX).unwrap();
    assert_eq!(*a.pos.lock(), 22);
    ops::fallocate(&f, 3, 0, 4096, u64::MAX).unwrap();
    assert_eq!(ops::stat(&f.path).unwrap().blocks, 0, "the only page is gone");
    let mut s = VecSink::new(4);
    f.read_at(18, &mut s).unwrap();
    assert_eq!(s.data, [0; 4]);
}

#[test]
fn tmpfs_keeps_its_bounds() {
    let k = Fixture::new();
    k.mkdir("/t").unwrap();
    k.mount_with("t", "/t", "tmpfs", 0, "size=16k,nr_inodes=3,mode=700").unwrap();
    let f = k.open("/t/f", O::RDWR | O::CREAT).unwrap();
    let data = vec![1u8; 20_000];
    assert_eq!(f.write(&mut SliceSource(&data[..16384]), u64::MAX).unwrap(), 16384);
    assert_eq!(f.write(&mut SliceSource(b"x"), u64::MAX).unwrap_err(), Errno::ENOSPC);
    k.mkdir("/t/d").unwrap();
    assert_eq!(k.mkdir("/t/e").unwrap_err(), Errno::ENOSPC);
    let (s, _) = ops::statfs(&f.path).unwrap();
    assert_eq!((s.blocks, s.free, s.files, s.files_free), (4, 0, 3, 0));
    k.unlink("/t/f").unwrap();
    assert_eq!(ops::statfs(&f.path).unwrap().0.free, 0, "still open");
    let path = k.find("/t").unwrap();
    drop(f);
    assert_eq!(ops::statfs(&path).unwrap().0.free, 4);
    k.mkdir("/t/e").unwrap();
    assert_eq!(k.mount_with("t", "/t", "tmpfs", 0, "size=x").unwrap_err(), Errno::EINVAL);
}

#[test]
fn rename_matrix() {
    let k = Fixture::new();
    let fresh = || {
        let k = Fixture::new();
        for d in ["/d1", "/d1/sub", "/d2", "/full"] {
            k.mkdir(d).unwrap();
        }
        k.write("/f1", "1").unwrap();
        k.write("/f2", "2").unwrap();
        k.write("/full/x", "x").unwrap();
        k
    };
    drop(k);
    let none = RenameFlags::empty();
    let no = RenameFlags::NOREPLACE;
    let ex = RenameFlags::EXCHANGE;
    for (a, b, flags, want) in [
        ("/f1", "/f2", none, Ok(())),
        ("/f1", "/new", none, Ok(())),
        ("/f1", "/f1", none, Ok(())),
        ("/f1", "/d1", none, Err(Errno::EISDIR)),
        ("/d1", "/f1", none, Err(Errno::ENOTDIR)),
        ("/d1", "/d2", none, Ok(())),
        ("/d1", "/full", none, Err(Errno::ENOTEMPTY)),
        ("/d1", "/d1/sub/x", none, Err(Errno::EINVAL)),
        ("/d1", "/d1/x", none, Err(Errno::EINVAL)),
        ("/d1/sub", "/d1", none, Err(Errno::ENOTEMPTY)),
        ("/none", "/x", none, Err(Errno::ENOENT)),
        ("/f1", "/none/x", none, Err(Errno::ENOENT)),
        ("/f1", "/new/", none, Err(Errno::ENOTDIR)),
        ("/d1", "/new/", none, Ok(())),
        ("/f1/", "/new", none, Err(Errno::ENOTDIR)),
        ("/d1/.", "/new", none, Err(Errno::EBUSY)),
        ("/d1", "/d2/..", none, Err(Errno::EBUSY)),
        ("/f1", "/f2", no, Err(Errno::EEXIST)),
        ("/f1", "/new", no, Ok(())),
        ("/f1", "/d1", ex, Ok(())),
        ("/f1", "/none", ex, Err(Errno::ENOENT)),
        ("/d1", "/d1/sub", ex, Err(Errno::EINVAL)),
        ("/d1/sub", "/d1", ex, Err(Errno::EINVAL)),
        ("/f1", "/f2", ex | no, Err(Errno::EINVAL)),
        ("/f1", "/d2/w", RenameFlags::WHITEOUT, Ok(())),
    ] {
        let k = fresh();
        let got = k.rename_with(a, b, flags).map_err(|e| e.errno());
        assert_eq!(got, want, "rename {a} {b} {flags:?}");
    }
}

#[test]
fn renamed_things_are_where_they_should_be() {
    let k = Fixture::new();
    for d in ["/a", "/a/b", "/c"] {
        k.mkdir(d).unwrap();
    }
    k.write("/a/b/f", "f").unwrap();
    k.write("/x", "x").unwrap();
    let open = k.open("/a/b/f", O::empty()).unwrap();
    let dir = k.find("/a/b").unwrap();
    k.rename("/a/b", "/c/z").unwrap();
    assert_eq!(k.path_of("/c/z/f"), "/c/z/f");
    assert_eq!(open.display_name(&k.ctx.root()), b"/c/z/f");
    assert_eq!(k.find("/a/b").unwrap_err(), Errno::ENOENT);
    assert_eq!(dir.name_from(&k.ctx.root()).0, b"/c/z");
    assert_eq!(ops::stat(&k.find("/a").unwrap()).unwrap().nlink, 2);
    assert_eq!(ops::stat(&k.find("/c").unwrap()).unwrap().nlink, 3);
    k.rename_with("/c/z", "/x", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(k.read("/c/z").unwrap(), "x");
    assert_eq!(k.read("/x/f").unwrap(), "f");
    assert_eq!(ops::stat(&k.find("/c").unwrap()).unwrap().nlink, 2);
    k.rename("/c/z", "/x/f").unwrap();
    assert_eq!(open.display_name(&k.ctx.root()), b"/x/f (deleted)");
    assert_eq!(k.read("/x/f").unwrap(), "x");
    assert_eq!(k.names("/c"), Vec::<String>::new());
}

#[test]
fn removed_directories_take_no_names() {
    let k = Fixture::new();
    k.mkdir("/d").unwrap();
    k.write("/d/f", "").unwrap();
    assert_eq!(k.rmdir("/d").unwrap_err(), Errno::ENOTEMPTY);
    assert_eq!(k.rmdir("/d/.").unwrap_err(), Errno::EINVAL);
    assert_eq!(k.rmdir("/d/..").unwrap_err(), Errno::ENOTEMPTY);
    assert_eq!(k.rmdir("/d/f").unwrap_err(), Errno::ENOTDIR);
    assert_eq!(k.unlink("/d").unwrap_err(), Errno::EISDIR);
    assert_eq!(k.unlink("/d/f/").unwrap_err(), Errno::ENOTDIR);
    k.unlink("/d/f").unwrap();
    let d = k.find("/d").unwrap();
    ops::chdir(&k.ctx, &k.cred, d).unwrap();
    k.rmdir("/d").unwrap();
    assert_eq!(k.write("x", "").unwrap_err(), Errno::ENOENT);
    assert_eq!(k.mkdir("x").unwrap_err(), Errno::ENOENT);
    assert_eq!(k.ctx.getcwd().unwrap_err(), Errno::ENOENT);
    assert_eq!(k.path_of(".."), "/");
}

#[test]
fn links_and_tmpfiles() {
    let k = Fixture::new();
    k.write("/f", "data").unwrap();
    let f = k.find("/f").unwrap();
    let link = |p: &crate::Path, n: &str| ops::link(&k.ctx, &k.cred, p, None, n.as_bytes());
    link(&f, "/g").unwrap();
    assert_eq!(ops::stat(&f).unwrap().nlink, 2);
    assert_eq!(link(&f, "/g").unwrap_err(), Errno::EEXIST);
    k.mkdir("/d").unwrap();
    assert_eq!(link(&k.find("/d").unwrap(), "/dd").unwrap_err(), Errno::EPERM);
    k.unlink("/f").unwrap();
    k.unlink("/g").unwrap();
    assert_eq!(link(&f, "/h").unwrap_err(), Errno::ENOENT);

    let t = k.open("/d", O::TMPFILE_BIT | O::DIRECTORY | O::RDWR).unwrap();
    t.write(&mut SliceSource(b"tmp"), u64::MAX).unwrap();
    assert!(k.names("/d").is_empty());
    assert_eq!(ops::stat(&t.path).unwrap().nlink, 0);
    link(&t.path, "/d/named").unwrap();
    assert_eq!(k.read("/d/named").unwrap(), "tmp");
    let how = O::TMPFILE_BIT | O::DIRECTORY | O::RDWR | O::EXCL;
    let t = k.open("/d", how).unwrap();
    assert_eq!(link(&t.path, "/d/no").unwrap_err(), Errno::ENOENT);
}

#[test]
fn readdir_goes_on_where_it_was() {
    let k = Fixture::new();
    k.mkdir("/d").unwrap();
    for i in 0..200 {
        k.write(&format!("/d/{i}"), "").unwrap();
    }
    let f = k.open("/d", O::DIRECTORY).unwrap();
    let mut seen = Vec::new();
    loop {
        let mut n = 0;
        f.read_dir(&mut |e| {
            n += 1;
            if n > 7 {
                return false;
            }
            seen.push(e.name.to_vec());
            true
        })
        .unwrap();
        if n == 0 {
            break;
        }
        // Removing what was seen must not lose the rest.
        if let Some(name) = seen.last().filter(|n| n[0] != b'.') {
            k.unlink(&format!("/d/{}", String::from_utf8_lossy(name))).unwrap();
        }
    }
    assert_eq!(seen.len(), 202);
    f.seek(0, 0).unwrap();
    let mut n = 0;
    f.read_dir(&mut |_| {
        n += 1;
        true
    })
    .unwrap();
    assert!(n < 202);
}

#[test]
fn xattrs_obey_their_namespaces() {
    let k = Fixture::new();
    k.write("/f", "").unwrap();
    k.symlink("f", "/l").unwrap();
    let f = k.find("/f").unwrap();
    let u = k.as_user(7);
    let set = |k: &Fixture, n: &str, fl| {
        ops::setxattr(&k.cred, &f, n.as_bytes(), Some(b"v"), fl).map_err(|e| e.errno())
    };
    assert_eq!(set(&k, "user.a", 0), Ok(()));
    assert_eq!(set(&k, "user.a", 1), Err(Errno::EEXIST));
    assert_eq!(set(&k, "user.b", 2), Err(Errno::ENODATA));
    assert_eq!(set(&k, "trusted.t", 0), Ok(()));
    assert_eq!(set(&u, "trusted.t", 0), Err(Errno::EPERM));
    assert_eq!(set(&u, "security.s", 0), Err(Errno::EPERM));
    assert_eq!(set(&u, "user.a", 0), Err(Errno::EACCES));
    assert_eq!(set(&k, "bogus", 0), Err(Errno::EOPNOTSUPP));
    assert_eq!(ops::getxattr(&u.cred, &f, b"user.a").unwrap(), b"v");
    assert_eq!(ops::getxattr(&u.cred, &f, b"trusted.t").unwrap_err(), Errno::ENODATA);
    assert_eq!(ops::listxattr(&u.cred, &f).unwrap(), b"user.a\0");
    assert_eq!(ops::listxattr(&k.cred, &f).unwrap(), b"trusted.t\0user.a\0");
    ops::setxattr(&k.cred, &f, b"user.a", None, 0).unwrap();
    assert_eq!(ops::getxattr(&k.cred, &f, b"user.a").unwrap_err(), Errno::ENODATA);
    let l = k.find_with("/l", LookupFlags::empty()).unwrap();
    let r = ops::setxattr(&k.cred, &l, b"user.a", Some(b""), 0);
    assert_eq!(r.unwrap_err(), Errno::EPERM);
}

#[test]
fn times() {
    let k = Fixture::new();
    k.write("/f", "x").unwrap();
    let f = k.find("/f").unwrap();
    let at = |sec| SetTime::At(base::Timestamp { sec, nsec: 5 });
    ops::utimens(&k.cred, &f, at(1), at(2)).unwrap();
    let a = ops::stat(&f).unwrap();
    assert_eq!((a.atime.sec, a.mtime.sec, a.mtime.nsec), (1, 2, 5));
    k.read("/f").unwrap();
    let b = ops::stat(&f).unwrap();
    assert!(b.atime.sec > 1, "relatime: older than the last change");
    assert_eq!(b.mtime, a.mtime);
    let u = k.as_user(7);
    assert_eq!(ops::utimens(&u.cred, &f, at(1), at(1)).unwrap_err(), Errno::EPERM);
    let now = ops::utimens(&u.cred, &f, SetTime::Now, SetTime::Now);
    assert_eq!(now.unwrap_err(), Errno::EACCES);
    ops::utimens(&u.cred, &f, SetTime::Omit, SetTime::Omit).unwrap();
}

#[test]
fn devtmpfs_and_initramfs() {
    let k = Fixture::new();
    k.mkdir("/dev").unwrap();
    k.mount("dev", "/dev", "devtmpfs", 0).unwrap();
    let names = k.names("/dev");
    for n in ["fd", "pts", "shm", "stdin"] {
        assert!(names.contains(&n.to_owned()), "{n}");
    }
    k.write("/dev/x", "1").unwrap();
    k.mkdir("/dev2").unwrap();
    k.mount("dev", "/dev2", "devtmpfs", 0).unwrap();
    assert_eq!(k.read("/dev2/x").unwrap(), "1", "one instance");
    k.mount("pts", "/dev/pts", "devpts", 0).unwrap();
    assert_eq!(k.names("/dev/pts"), ["ptmx"]);
    assert_eq!(k.find("/dev/pts/ptmx").unwrap().inode().kind, FileType::CharDevice);

    let mut cpio = Vec::new();
    let mut add = |name: &str, mode: u32, ino: u32, nlink: u32, data: &[u8]| {
        let n = name.len() + 1;
        let fields = [ino, mode, 3, 4, nlink, 1000, data.len() as u32, 0, 0, 0, 0, n as u32, 0];
        cpio.extend_from_slice(b"070701");
        for f in fields {
            cpio.extend_from_slice(format!("{f:08x}").as_bytes());
        }
        cpio.extend_from_slice(name.as_bytes());
        cpio.push(0);
        cpio.resize(cpio.len().next_multiple_of(4), 0);
        cpio.extend_from_slice(data);
        cpio.resize(cpio.len().next_multiple_of(4), 0);
    };
    add("i", 0o40755, 1, 2, b"");
    add("i/one", 0o104_755, 2, 2, b"");
    add("i/two", 0o104_755, 2, 2, b"#!content");
    add("i/l", 0o120_777, 3, 1, b"one");
    add("TRAILER!!!", 0, 0, 1, b"");
    crate::initramfs::unpack(&k.ctx, &cpio).unwrap();
    assert_eq!(k.read("/i/l").unwrap(), "#!content");
    let a = ops::stat(&k.find("/i/one").unwrap()).unwrap();
    assert_eq!((a.uid, a.gid, a.perm, a.nlink, a.mtime.sec), (3, 4, 0o4755, 2, 1000));
    assert_eq!(crate::initramfs::unpack(&k.ctx, b"junk").unwrap_err(), Errno::EINVAL);
    let cut = &cpio[..130];
    assert!(crate::initramfs::unpack(&k.ctx, cut).is_err());
}

#[test]
fn block_devices_are_files() {
    let k = Fixture::new();
    let phys = k.vfs.memory.machine().phys().clone();
    let disk = drivers::RamDisk::new(vec![0; 10_240], false, Some(phys));
    let disk = k.vfs.devices.blocks.register_ubd(0, std::sync::Arc::new(disk)).unwrap();
    let node = |n: &str, kind, dev| {
        ops::mknod(&k.ctx, &k.cred, None, n.as_bytes(), kind, 0o660, dev).map(|_| ())
    };
    node("/disk", FileType::BlockDevice, disk.dev()).unwrap();
    let f = k.open("/disk", O::RDWR).unwrap();
    assert_eq!(f.seek(2, 0).unwrap(), 10_240);
    f.write_at(9_000, &mut SliceSource(&[7; 5000]), u64::MAX).unwrap();
    assert_eq!(f.write_at(10_240, &mut SliceSource(b"x"), u64::MAX).unwrap_err(), Errno::ENOSPC);
    ops::sync_file(&f, false).unwrap();
    let mut raw = [0; 512];
    drivers::BlockDevice::read(&*disk, 9728, &mut raw).unwrap();
    assert_eq!(raw, [7; 512]);
    node("/none", FileType::CharDevice, drivers::DevNum::new(200, 1)).unwrap();
    assert_eq!(k.open("/none", O::empty()).unwrap_err(), Errno::ENXIO);
    k.mount("", "/", "", 32 | 4).unwrap();
    assert_eq!(k.open("/disk", O::empty()).unwrap_err(), Errno::EACCES);
    let u = k.as_user(5);
    let how = OpenHow { flags: O::empty(), ..OpenHow::default() };
    let who = Who(u.cred.clone());
    assert!(ops::open(&u.ctx, &u.cred, &who, None, b"/disk", &how).is_err());
}
