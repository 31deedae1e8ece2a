//! The names of files, as the kernel shows them and as they are durable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// When a name is durable; see the [module](super).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// At once.
    Journal,
    /// As the documentation of ext4 promises.
    Ext4,
    /// As POSIX promises.
    Posix,
}

/// Index of a file.
pub(super) type FileId = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(FileId),
    Directory,
}

pub(super) type Tree = BTreeMap<PathBuf, Node>;

/// What a sync of a directory found when it began.
#[derive(Debug, Clone)]
pub(super) struct SyncDirectory {
    path: PathBuf,
    began: usize,
    children: Tree,
    /// Names that were durable and are no more.
    removed: BTreeSet<PathBuf>,
}

/// The names below a root.
#[derive(Debug, Clone)]
pub(super) struct NameSpace {
    root: PathBuf,
    /// What the kernel shows.
    pub(super) now: Tree,
    ext4: Tree,
    posix: Tree,
    /// The line in which the newest sync of each directory began.
    syncs: BTreeMap<PathBuf, usize>,
}

impl NameSpace {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            now: Tree::new(),
            ext4: Tree::new(),
            posix: Tree::new(),
            syncs: BTreeMap::new(),
        }
    }

    /// The durable names.
    pub(super) fn durable(&self, names: Names) -> &Tree {
        match names {
            Names::Journal => &self.now,
            Names::Ext4 => &self.ext4,
            Names::Posix => &self.posix,
        }
    }

    /// The names of a file.
    pub(super) fn of_file(&self, id: FileId) -> Tree {
        let names = self.now.iter().filter(|(_, node)| **node == Node::File(id));
        names.map(|(path, node)| (path.clone(), *node)).collect()
    }

    /// A sync of a file ended that had these names when it began.
    pub(super) fn file_synced(&mut self, id: FileId, names: Tree) {
        if !self.ext4.values().any(|node| *node == Node::File(id)) {
            for (path, node) in names {
                self.make_ext4_parents(&path);
                self.ext4.insert(path, node);
            }
        }
    }

    pub(super) fn begin_sync(&self, path: PathBuf, line: usize) -> SyncDirectory {
        let is_child = |child: &&PathBuf| child.parent() == Some(&path);
        let children = self.now.iter().filter(|(child, _)| is_child(child));
        let children: Tree = children.map(|(child, node)| (child.clone(), *node)).collect();
        let durable = self.ext4.keys().chain(self.posix.keys()).filter(is_child);
        let removed = durable.filter(|child| !children.contains_key(*child)).cloned().collect();
        SyncDirectory { path, began: line, children, removed }
    }

    pub(super) fn end_sync(&mut self, sync: SyncDirectory) {
        let SyncDirectory { path, began, children, removed } = sync;
        self.make_ext4_parents(&path);
        if path != self.root {
            self.ext4.insert(path.clone(), Node::Directory);
        }
        let newest = self.syncs.entry(path).or_default();
        if *newest > began {
            // A sync that began later has ended and made more durable.
            return;
        }
        *newest = began;
        for names in [&mut self.ext4, &mut self.posix] {
            // What became durable by itself meanwhile stays.
            names.retain(|name, node| !removed.contains(name) || self.now.get(name) == Some(node));
            for (name, node) in &children {
                if names.get(name).is_none_or(|durable| self.now.get(name) != Some(durable)) {
                    names.insert(name.clone(), *node);
                }
            }
        }
    }

    fn make_ext4_parents(&mut self, path: &Path) {
        for parent in path.ancestors().skip(1).take_while(|parent| *parent != self.root) {
            self.ext4.insert(parent.to_owned(), Node::Directory);
        }
    }
}
