use std::collections::BTreeSet;

use super::*;

/// Follows lines whose strings are given in plain text.
fn disk(lines: &[&str]) -> Disk {
    let mut disk = Disk::new(Path::new("/r"), Path::new("/out"));
    follow(&mut disk, lines).expect("it is modelled");
    disk
}

fn follow(disk: &mut Disk, lines: &[&str]) -> Result<(), DiskError> {
    let trace = Trace::parse(&lines.join("\n")).expect("a trace");
    (0..trace.steps.len()).try_for_each(|index| disk.step(&trace, index))
}

fn open(path: &str, fd: i32) -> String {
    format!("1 openat(AT_FDCWD</>, \"{path}\", O_WRONLY|O_CREAT|O_TRUNC, 0644) = {fd}<{path}>")
}

fn open_directory(path: &str, fd: i32) -> String {
    format!("1 openat(AT_FDCWD</>, \"{path}\", O_RDONLY|O_DIRECTORY) = {fd}<{path}>")
}

fn cut(disk: &Disk, names: Names) -> Contents {
    disk.after_power_cut(names, Tail::Cut, &mut Random::new(1))
}

fn file(path: &str, bytes: &str) -> (PathBuf, Option<Vec<u8>>) {
    (path.into(), Some(bytes.into()))
}

const ALL: [Names; 3] = [Names::Journal, Names::Ext4, Names::Posix];

#[test]
fn a_sync_covers_what_was_written_before_it_began() {
    let disk = disk(&[
        &open("/r/a", 3),
        "1 write(3</r/a>, \"one\", 3) = 3",
        "1 fdatasync(3</r/a> <unfinished ...>",
        "2 write(3</r/a>, \"two\", 3) = 3",
        "1 <... fdatasync resumed>) = 0",
        "1 write(3</r/a>, \"three\", 5) = 5",
    ]);
    assert_eq!(disk.contents(), BTreeMap::from([file("/r/a", "onetwothree")]));
    assert_eq!(cut(&disk, Names::Ext4), BTreeMap::from([file("/r/a", "one")]));
    assert_eq!(disk.streams()[0].bytes, b"onetwothree");
    assert_eq!(disk.streams()[0].syncs, [Sync { number: 0, n_bytes: 3, line: 5 }]);
}

#[test]
fn a_sync_that_has_not_ended_or_failed_covers_nothing() {
    let begin = [open("/r/a", 3), "1 write(3</r/a>, \"one\", 3) = 3".to_owned()];
    for sync in
        ["1 fsync(3</r/a> <unfinished ...>", "1 fsync(3</r/a>) = -1 EIO (Input/output error)"]
    {
        let disk = disk(&[&begin[0], &begin[1], sync]);
        assert_eq!(cut(&disk, Names::Journal), BTreeMap::from([file("/r/a", "")]));
        assert_eq!(cut(&disk, Names::Ext4), BTreeMap::new());
    }
}

#[test]
fn a_new_name_is_durable_by_its_file_or_its_directory() {
    let mut disk = disk(&[&open("/r/a", 3), "1 fsync(3</r/a>) = 0"]);
    assert_eq!(cut(&disk, Names::Ext4).len(), 1);
    assert_eq!(cut(&disk, Names::Posix).len(), 0);
    // `..` is resolved, as the kernel does it.
    follow(&mut disk, &[&open_directory("/r/d/..", 4), "1 fsync(4</r>) = 0"]).expect("modelled");
    assert_eq!(cut(&disk, Names::Posix).len(), 1);
}

#[test]
fn a_rename_and_a_removal_wait_for_the_directory() {
    let mut disk = disk(&[
        &open("/r/a.new", 3),
        "1 write(3</r/a.new>, \"new\", 3) = 3",
        "1 fsync(3</r/a.new>) = 0",
        &open("/r/b", 5),
        "1 fsync(5</r/b>) = 0",
        &open_directory("/r", 4),
        "1 fsync(4</r>) = 0",
        "1 rename(\"/r/a.new\", \"/r/a\") = 0",
        "1 unlink(\"/r/b\") = 0",
    ]);
    let old = BTreeMap::from([file("/r/a.new", "new"), file("/r/b", "")]);
    let new = BTreeMap::from([file("/r/a", "new")]);
    assert_eq!(cut(&disk, Names::Journal), new);
    assert_eq!(cut(&disk, Names::Ext4), old);
    assert_eq!(cut(&disk, Names::Posix), old);
    // A sync of the file does not bring its new name.
    follow(&mut disk, &["1 fsync(3</r/a>) = 0"]).expect("modelled");
    assert_eq!(cut(&disk, Names::Ext4), old);
    follow(&mut disk, &["1 fsync(4</r>) = 0"]).expect("modelled");
    assert!(ALL.iter().all(|names| cut(&disk, *names) == new));
}

#[test]
fn a_sync_of_a_directory_covers_the_names_from_before_it_began() {
    let mut disk = disk(&[
        &open("/r/old", 3),
        "1 fsync(3</r/old>) = 0",
        &open_directory("/r", 4),
        "1 unlink(\"/r/old\") = 0",
        "1 fsync(4</r> <unfinished ...>",
        "2 openat(AT_FDCWD</>, \"/r/new\", O_WRONLY|O_CREAT, 0644) = 5</r/new>",
        "2 fsync(5</r/new>) = 0",
        "1 <... fsync resumed>) = 0",
    ]);
    // The new file is there by its own sync.
    assert_eq!(cut(&disk, Names::Ext4), BTreeMap::from([file("/r/new", "")]));
    assert_eq!(cut(&disk, Names::Posix), BTreeMap::new());
    let overlapping = [
        "1 fsync(4</r> <unfinished ...>",
        "2 unlink(\"/r/new\") = 0",
        "2 fsync(4</r>) = 0",
        "1 <... fsync resumed>) = 0",
    ];
    follow(&mut disk, &overlapping).expect("modelled");
    assert!(ALL.iter().all(|names| cut(&disk, *names).is_empty()));
}

#[test]
fn a_file_in_a_directory_that_is_gone_is_gone() {
    let disk = disk(&[
        "1 mkdir(\"/r/d\", 0755) = 0",
        &open("/r/d/a", 3),
        &open_directory("/r/d", 4),
        "1 fsync(4</r/d>) = 0",
    ]);
    assert_eq!(cut(&disk, Names::Posix), BTreeMap::new());
    assert_eq!(cut(&disk, Names::Ext4).len(), 2);
}

#[test]
fn bytes_that_are_rewritten_keep_their_old_form_until_the_next_sync() {
    let mut disk = disk(&[
        &open("/r/a", 3),
        "1 write(3</r/a>, \"abc\", 3) = 3",
        "1 fsync(3</r/a>) = 0",
        "1 pwrite64(3</r/a>, \"X\", 1, 1) = 1",
        "1 ftruncate(3</r/a>, 2) = 0",
    ]);
    assert_eq!(disk.contents(), BTreeMap::from([file("/r/a", "aX")]));
    assert_eq!(cut(&disk, Names::Ext4), BTreeMap::from([file("/r/a", "abc")]));
    follow(&mut disk, &["1 fsync(3</r/a>) = 0"]).expect("modelled");
    assert_eq!(cut(&disk, Names::Ext4), BTreeMap::from([file("/r/a", "aX")]));
}

#[test]
fn a_file_that_is_used_again_keeps_its_old_bytes_beside_the_new() {
    let mut disk = disk(&[
        &open("/r/1", 3),
        "1 write(3</r/1>, \"aaaaaa\", 6) = 6",
        "1 fsync(3</r/1>) = 0",
        "1 close(3</r/1>) = 0",
        "1 rename(\"/r/1\", \"/r/2\") = 0",
        "1 openat(AT_FDCWD</>, \"/r/2\", O_WRONLY|O_CREAT, 0644) = 3</r/2>",
        "1 write(3</r/2>, \"bb\", 2) = 2",
        "1 fdatasync(3</r/2>) = 0",
        "1 write(3</r/2>, \"cc\", 2) = 2",
    ]);
    let names = |disk: &Disk| cut(disk, Names::Journal);
    assert_eq!(disk.contents(), BTreeMap::from([file("/r/2", "bbccaa")]));
    assert_eq!(names(&disk), BTreeMap::from([file("/r/2", "bbaaaa")]));
    assert_eq!(disk.streams()[1].bytes, b"bbcc");
    assert_eq!(disk.streams()[1].syncs[0].n_bytes, 2);
    assert_eq!(disk.streams()[0].syncs.len(), 1);
    // Two syncs overlap: the one that began first ends last and takes nothing back.
    let overlapping = [
        "1 fsync(3</r/2> <unfinished ...>",
        "2 write(3</r/2>, \"dd\", 2) = 2",
        "2 fsync(3</r/2>) = 0",
        "1 <... fsync resumed>) = 0",
    ];
    follow(&mut disk, &overlapping).expect("modelled");
    assert_eq!(names(&disk), BTreeMap::from([file("/r/2", "bbccdd")]));
}

#[test]
fn an_ignored_sync_has_no_effect() {
    let lines = [&open("/r/a", 3)[..], "1 write(3</r/a>, \"abc\", 3) = 3", "1 fsync(3</r/a>) = 0"];
    let mut disk = Disk::new(Path::new("/r"), Path::new("/out")).ignoring_sync(0);
    follow(&mut disk, &lines).expect("modelled");
    assert_eq!(cut(&disk, Names::Ext4), BTreeMap::new());
    assert_eq!(cut(&disk, Names::Journal), BTreeMap::from([file("/r/a", "")]));
}

#[test]
fn a_torn_tail_keeps_what_was_synced() {
    let long = "x".repeat(5000);
    let disk = disk(&[
        &open("/r/a", 3),
        "1 write(3</r/a>, \"abc\", 3) = 3",
        "1 fsync(3</r/a>) = 0",
        &format!("1 write(3</r/a>, \"{long}\", 5000) = 5000"),
    ]);
    let mut random = Random::new(7);
    let mut lengths = BTreeSet::new();
    for _ in 0..20 {
        let image = disk.after_power_cut(Names::Journal, Tail::Torn, &mut random);
        let bytes = image[Path::new("/r/a")].clone().expect("a file");
        assert!(bytes.starts_with(b"abc"));
        assert!(bytes[3..].iter().all(|byte| [b'x', 0].contains(byte)));
        lengths.insert(bytes.len());
    }
    assert!(lengths.len() > 10, "{lengths:?}");
}

#[test]
fn what_is_said_has_its_line_and_the_rest_of_the_world_is_left_out() {
    let disk = disk(&[
        "1 write(1</out>, \"hello\", 5 <unfinished ...>",
        "2 openat(AT_FDCWD</>, \"/etc/x\", O_RDONLY) = 3</etc/x>",
        "1 <... write resumed>) = 5",
        "2 rename(\"/etc/x\", \"/etc/y\") = 0",
    ]);
    assert_eq!(disk.said(), [(1, b"hello".to_vec())]);
    assert!(disk.contents().is_empty());
}

#[test]
fn what_is_not_modelled_is_an_error() {
    let begin = open("/r/a", 3);
    for call in [
        "1 link(\"/r/a\", \"/r/b\") = 0",
        "1 copy_file_range(3</r/a>, NULL, 9</x>, NULL, 1, 0) = 1",
        "1 fcntl(3</r/a>, F_DUPFD_CLOEXEC, 10) = 11</r/a>",
        "1 write(8</r/z>, \"x\", 1) = 1",
        "1 fallocate(3</r/a>, 0, 0, 100) = 0",
    ] {
        let mut disk = disk(&[&begin]);
        assert!(follow(&mut disk, &[call]).is_err(), "{call}");
    }
}
