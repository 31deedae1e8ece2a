//! Trees of files in memory and on the disk of the test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files with their bytes and directories without, by path.
pub type Contents = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Writes the files of `contents` below `target` as they stood below `root`.
///
/// # Errors
///
/// The disk of this test refuses.
pub fn write_image(contents: &Contents, root: &Path, target: &Path) -> std::io::Result<()> {
    for (path, bytes) in contents {
        let relative = path.strip_prefix(root).unwrap_or(path);
        match bytes {
            Some(bytes) => std::fs::write(target.join(relative), bytes)?,
            None => std::fs::create_dir_all(target.join(relative))?,
        }
    }
    Ok(())
}

/// Everything below `root`, as the kernel shows it.
///
/// # Errors
///
/// Something cannot be read.
pub fn read_tree(root: &Path) -> std::io::Result<Contents> {
    let mut contents = BTreeMap::new();
    let mut directories = BTreeSet::from([root.to_owned()]);
    while let Some(directory) = directories.pop_first() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let is_directory = path.is_dir();
            contents.insert(
                path.clone(),
                if is_directory { None } else { Some(std::fs::read(&path)?) },
            );
            if is_directory {
                directories.insert(path);
            }
        }
    }
    Ok(contents)
}
