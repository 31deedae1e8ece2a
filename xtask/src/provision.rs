//! What a bare machine lacks for building RocksDB's bindings and for the crash tests.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::workspace::{Workspace, run};

/// Something a build or a test cannot do without.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    /// bindgen reads RocksDB's C header with it.
    Libclang,
    /// Compiles RocksDB and LZ4.
    Compiler,
    /// The crash tests prove the order of receipt and sync from a system-call trace.
    Strace,
}

impl Need {
    fn present(self) -> bool {
        match self {
            Self::Libclang => libclang_present(),
            Self::Compiler => env::var_os("CXX").is_some() || starts("c++"),
            Self::Strace => starts("strace"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Libclang => "libclang",
            Self::Compiler => "a C++ compiler",
            Self::Strace => "strace",
        }
    }

    fn debian_package(self) -> &'static str {
        match self {
            Self::Libclang => "libclang-dev",
            Self::Compiler => "g++",
            Self::Strace => "strace",
        }
    }

    fn fedora_package(self) -> &'static str {
        match self {
            Self::Libclang => "clang-devel",
            Self::Compiler => "gcc-c++",
            Self::Strace => "strace",
        }
    }
}

/// What building the workspace needs.
pub(crate) const BUILD: &[Need] = &[Need::Libclang, Need::Compiler];

/// What `check` needs: strace only where there are crash tests and a kernel it can trace.
pub(crate) fn needs_of_check(workspace: &Workspace) -> Vec<Need> {
    let traced = cfg!(target_os = "linux") && workspace.root.join("tests/crash").is_dir();
    BUILD.iter().copied().chain(traced.then_some(Need::Strace)).collect()
}

/// Installs what is missing where that can be done without asking, and otherwise says what to install.
pub(crate) fn provision(needs: &[Need]) -> Result<()> {
    let missing = absent(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let Some(elevation) = elevation() else { return Err(Error::missing(advice(&missing))) };
    eprintln!("installing {}", packages(&missing).join(" "));
    for mut command in apt_commands(&missing, elevation) {
        run(&mut command)
            .map_err(|error| Error::missing(format!("{error}; {}", advice(&missing))))?;
    }
    match absent(&missing) {
        still if still.is_empty() => Ok(()),
        still => Err(Error::missing(advice(&still))),
    }
}

fn absent(needs: &[Need]) -> Vec<Need> {
    needs.iter().copied().filter(|need| !need.present()).collect()
}

fn packages(needs: &[Need]) -> Vec<&'static str> {
    needs.iter().map(|need| need.debian_package()).collect()
}

/// One line: what is missing and how to install it.
fn advice(missing: &[Need]) -> String {
    let names: Vec<_> = missing.iter().map(|need| need.name()).collect();
    let fedora: Vec<_> = missing.iter().map(|need| need.fedora_package()).collect();
    let macos = if missing.contains(&Need::Libclang) {
        "; macOS: `xcode-select --install`; elsewhere clang with its headers, found through LIBCLANG_PATH"
    } else {
        ""
    };
    format!(
        "this machine lacks {}; Debian and Ubuntu: `sudo apt-get install -y {}`; Fedora: `sudo dnf install \
         {}`{macos}",
        names.join(", "),
        packages(missing).join(" "),
        fedora.join(" "),
    )
}

/// How apt-get may be run without a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Elevation {
    Root,
    Sudo,
}

/// `None` where there is no apt-get, or where using it would need a password.
fn elevation() -> Option<Elevation> {
    if !starts("apt-get") {
        return None;
    }
    let user = Command::new("id").arg("-u").output().ok()?;
    if user.stdout.trim_ascii() == b"0" {
        return Some(Elevation::Root);
    }
    let sudo = quietly(Command::new("sudo").args(["-n", "true"]));
    sudo.then_some(Elevation::Sudo)
}

fn apt_commands(missing: &[Need], elevation: Elevation) -> [Command; 2] {
    let apt_get = |arguments: &[&str]| {
        let mut command = match elevation {
            Elevation::Root => Command::new("env"),
            Elevation::Sudo => Command::new("sudo"),
        };
        if elevation == Elevation::Sudo {
            command.args(["-n", "env"]);
        }
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]).args(arguments);
        // Standard output belongs to the command's own results: a shell may evaluate them.
        command.stdin(Stdio::null()).stdout(std::io::stderr());
        command
    };
    let install = [&["install", "-y", "--no-install-recommends"], &packages(missing)[..]].concat();
    [apt_get(&["update"]), apt_get(&install)]
}

/// Whether a program can be started at all.
fn starts(program: &str) -> bool {
    quietly(Command::new(program).arg("--version"))
}

fn quietly(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether bindgen will find a libclang, and that libclang the headers that come with a compiler. The
/// library alone (Debian's `libclang1`) is not enough: RocksDB's header includes `stddef.h`.
fn libclang_present() -> bool {
    let libraries: Vec<PathBuf> =
        libclang_directories().iter().flat_map(|directory| libclang_in(directory)).collect();
    let headers = libraries.iter().any(|library| headers_beside(library));
    !libraries.is_empty() && (headers || starts("clang"))
}

/// Where clang-sys, which bindgen uses, looks.
fn libclang_directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = Vec::new();
    directories.extend(env::var_os("LIBCLANG_PATH").map(PathBuf::from));
    if let Ok(output) = Command::new("llvm-config").arg("--libdir").output() {
        directories.push(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    if let Ok(output) = Command::new("ldconfig").arg("-p").output() {
        let listing = String::from_utf8_lossy(&output.stdout).into_owned();
        let paths = listing.lines().filter_map(|line| line.split(" => ").nth(1));
        let clang = paths.filter(|path| path.contains("libclang"));
        directories.extend(clang.filter_map(|path| Path::new(path).parent()).map(PathBuf::from));
    }
    directories
        .extend(children("/usr/lib").into_iter().flat_map(|child| [child.join("lib"), child]));
    for fixed in ["/usr/lib", "/usr/lib64", "/usr/local/lib"] {
        directories.push(fixed.into());
    }
    directories.push("/Library/Developer/CommandLineTools/usr/lib".into());
    directories
}

/// The libclang libraries in a directory, or the path itself where it names one.
fn libclang_in(path: &Path) -> Vec<PathBuf> {
    let is_libclang = |file: &Path| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let versioned = name.starts_with("libclang-") && !name.starts_with("libclang-cpp");
        (name.starts_with("libclang.") || versioned)
            && (name.contains(".so") || name.ends_with(".dylib"))
    };
    if path.is_file() {
        return if is_libclang(path) { vec![path.to_owned()] } else { Vec::new() };
    }
    children(path).into_iter().filter(|file| is_libclang(file)).collect()
}

/// Whether `<directory of the real library>/clang/<version>/include/stddef.h` exists.
fn headers_beside(library: &Path) -> bool {
    let Ok(real) = library.canonicalize() else { return false };
    let Some(directory) = real.parent() else { return false };
    children(directory.join("clang"))
        .iter()
        .any(|version| version.join("include/stddef.h").is_file())
}

/// What a directory holds; nothing where it cannot be read.
fn children(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::shown;

    #[test]
    fn advice_is_one_line_and_names_every_missing_thing() {
        let text = advice(&[Need::Libclang, Need::Strace]);
        for word in ["libclang,", "libclang-dev strace", "clang-devel strace", "LIBCLANG_PATH"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert!(!text.contains('\n'));
        assert!(!advice(&[Need::Strace]).contains("LIBCLANG_PATH"));
    }

    #[test]
    fn apt_is_run_without_questions() {
        let line = |elevation| apt_commands(&[Need::Compiler], elevation).map(|c| shown(&c));
        let root = line(Elevation::Root);
        assert_eq!(root[0], "env DEBIAN_FRONTEND=noninteractive apt-get -q update");
        assert!(root[1].ends_with("install -y --no-install-recommends g++"), "{}", root[1]);
        let sudo = line(Elevation::Sudo);
        assert!(sudo[1].starts_with("sudo -n env DEBIAN_FRONTEND=noninteractive apt-get"));
    }

    #[test]
    fn libclang_is_told_from_its_neighbours() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        for name in ["libclang-cpp.so.14", "libclangAST.a", "libclang.a", "libclang-14.so.13"] {
            fs::write(directory.path().join(name), "").expect("the directory is writable");
        }
        let library = directory.path().join("libclang-14.so.13");
        assert_eq!(libclang_in(directory.path()), [&*library]);
        assert_eq!(libclang_in(&library), [&*library]);

        assert!(!headers_beside(&library));
        let include = directory.path().join("clang/14/include");
        fs::create_dir_all(&include).expect("the directory is writable");
        fs::write(include.join("stddef.h"), "").expect("the directory is writable");
        assert!(headers_beside(&library));
    }
}
