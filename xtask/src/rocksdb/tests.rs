//! The cache and its key, with a stand-in for cargo: compiling RocksDB takes too long for a test.

use std::sync::Barrier;
use std::thread;

use tempfile::TempDir;

use super::key::{locked_version, toml_values};
use super::*;

fn inputs() -> KeyInputs {
    KeyInputs {
        version: "0.19.0+11.8.1".to_owned(),
        declaration: r#"{ version = "0.25", features = ["lz4"] }"#.to_owned(),
        rustflags: r#"["-Ctarget-cpu=x86-64-v2"]"#.to_owned(),
        compiler: "c++ (Debian 12.2.0-14) 12.2.0".to_owned(),
        target: "x86_64-unknown-linux-gnu".to_owned(),
        cxxflags: String::new(),
    }
}

/// A workspace whose cargo is the stand-in.
fn fixture(mode: &str) -> (TempDir, Workspace) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let root = directory.path().join("root");
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("it is below the root")).expect("it is writable");
        fs::write(path, text).expect("the directory is writable");
    };
    write("mode", mode);
    write("compiled", "");
    write("sys/rocksdb_lib_sources.txt", "db/db.cc\ndb/column_family.cc\n");
    write(".cargo/config.toml", "");
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo and nextest set it");
    let cargo = Path::new(&package).join("src/rocksdb/testdata/cargo").into();
    let cache_dir = directory.path().join("cache");
    (directory, Workspace { root, cache_dir, cargo })
}

fn compilations(workspace: &Workspace) -> Vec<String> {
    let text = workspace.read("compiled").expect("the fixture made it");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_key_is_the_same_on_every_run_and_machine() {
    assert_eq!(inputs().key(), "869fe2225a828539");
}

#[test]
fn every_input_changes_the_key() {
    let changes: [fn(&mut KeyInputs); 6] = [
        |inputs| inputs.version.push('x'),
        |inputs| inputs.declaration.push('x'),
        |inputs| inputs.rustflags.push('x'),
        |inputs| inputs.compiler.push('x'),
        |inputs| inputs.target.push('x'),
        |inputs| inputs.cxxflags.push('x'),
    ];
    let mut keys: Vec<String> = changes
        .iter()
        .map(|change| {
            let mut inputs = inputs();
            change(&mut inputs);
            inputs.key()
        })
        .collect();
    keys.push(inputs().key());
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 7);
}

#[test]
fn the_locked_version_is_found_and_a_second_one_refused() {
    let lock = r#"
[[package]]
name = "rocksdb"
version = "0.25.0"
dependencies = [
 "librocksdb-sys",
]

[[package]]
name = "librocksdb-sys"
version = "0.19.0+11.8.1"
"#;
    let version = |lock: &str| locked_version(lock, PACKAGE);
    assert_eq!(version(lock).expect("one is locked"), Some("0.19.0+11.8.1".to_owned()));
    assert_eq!(version("[[package]]\nname = \"x\"\n").expect("none is locked"), None);
    let twice = format!("{lock}\n[[package]]\nname = \"librocksdb-sys\"\nversion = \"0.18.0\"\n");
    let error = version(&twice).expect_err("two are locked");
    assert!(error.to_string().contains("0.19.0+11.8.1 and 0.18.0"), "{error}");
}

#[test]
fn values_are_read_without_comments_and_over_several_lines() {
    let text = "
# rocksdb = \"0\"
rocksdb-extra = \"1\"
rocksdb = { version = \"0.25\", features = [
    \"lz4\", # compression
    \"a#b\",
] } # the backend
";
    let expected = r#"{ version = "0.25", features = [ "lz4", "a#b", ] }"#;
    assert_eq!(toml_values(text, "rocksdb"), [expected]);
    let flags = "rustflags = [\"-Ca\"]\n[target.x]\nrustflags=[ \"-Cb\" ]\n";
    assert_eq!(toml_values(flags, "rustflags"), [r#"["-Ca"]"#, r#"[ "-Cb" ]"#]);
}

#[test]
fn the_library_is_compiled_once_and_the_build_tree_removed() {
    let (_directory, workspace) = fixture("works");
    let stale = workspace.cache_dir.join("rocksdb-build/release/build/librocksdb-sys-9/out");
    fs::create_dir_all(&stale).expect("the directory is writable");
    let first = ensure_cached(&workspace, &inputs()).expect("the stand-in compiles");
    let again = ensure_cached(&workspace, &inputs()).expect("it is there");
    assert_eq!(first, again);
    assert!(first.ends_with(format!("rocksdb-{}", inputs().key())));
    assert_eq!(fs::read_to_string(first.join(LIBRARY)).expect("it is there"), "library\n");
    let described = fs::read_to_string(first.join("key.txt")).expect("it is there");
    assert_eq!(described, inputs().describe());
    assert!(!workspace.cache_dir.join("rocksdb-build").exists());
    assert_eq!(compilations(&workspace).len(), 1);
    assert!(
        compilations(&workspace)[0].starts_with("ROCKSDB_COMPILE=1 RUSTFLAGS= build --locked"),
        "{:?}",
        compilations(&workspace)
    );
}

#[test]
fn two_commands_at_the_same_time_compile_once() {
    let (_directory, workspace) = fixture("works");
    let barrier = Barrier::new(2);
    let ensure = || {
        barrier.wait();
        ensure_cached(&workspace, &inputs()).expect("one compiles, the other waits for it")
    };
    let (one, other) = thread::scope(|scope| {
        let threads = [scope.spawn(ensure), scope.spawn(ensure)];
        let [one, other] = threads.map(|thread| thread.join().expect("neither panics"));
        (one, other)
    });
    assert_eq!(one, other);
    assert_eq!(compilations(&workspace).len(), 1, "{:?}", compilations(&workspace));
}

#[test]
fn a_failed_compilation_leaves_no_library_and_is_tried_again() {
    for mode in ["fails", "no-library"] {
        let (_directory, workspace) = fixture(mode);
        let error = ensure_cached(&workspace, &inputs()).expect_err("it does not work");
        let expected = if mode == "fails" { "compiling RocksDB failed" } else { "librocksdb.a" };
        assert!(error.to_string().contains(expected), "{mode}: {error}");
        let lib_dir = workspace.cache_dir.join(format!("rocksdb-{}", inputs().key()));
        assert!(!lib_dir.join(LIBRARY).exists(), "{mode}");

        fs::write(workspace.root.join("mode"), "works").expect("the directory is writable");
        ensure_cached(&workspace, &inputs()).expect("now it works");
        assert!(lib_dir.join(LIBRARY).exists(), "{mode}");
    }
}

#[test]
fn commands_are_pointed_at_the_library() {
    let variables = |rocksdb: &Rocksdb| {
        let mut command = Command::new("cargo");
        rocksdb.apply(&mut command);
        let mut set: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        set.sort();
        set
    };
    assert_eq!(variables(&Rocksdb { lib_dir: None }), []);
    let set = variables(&Rocksdb { lib_dir: Some("/lib dir".into()) });
    let expected = [("ROCKSDB_LIB_DIR", "/lib dir"), ("ROCKSDB_STATIC", "1")];
    assert_eq!(set, expected.map(|(name, value)| (name.into(), value.into())));
}

#[test]
fn commands_typed_by_hand_find_the_library_too() {
    let (_directory, workspace) = fixture("works");
    tell_cargo(&workspace, Path::new("/lib \"dir\"")).expect("the directory is writable");
    let text = workspace.read(".cargo/rocksdb.toml").expect("it was written");
    assert!(
        text.contains("[env]\nROCKSDB_LIB_DIR = \"/lib \\\"dir\\\"\"\nROCKSDB_STATIC = \"1\"\n")
    );
}
