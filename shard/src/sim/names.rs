//! The names of a simulated disk: a tree of directories in which a change is volatile until its
//! directory is synced. It knows files by number only, not what they hold.
//!
//! Invariant: a change outlives a power cut only together with every earlier change of the same
//! names, so that no file system order is asked for that a journaled one would not keep.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::sim::content::Mutation;

const ENOTEMPTY: i32 = 39;
const EISDIR: i32 = 21;

/// A file or a directory, for the life of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ino(u64);

impl Ino {
    const ROOT: Self = Self(0);

    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(Ino),
    Dir(Ino),
}

#[derive(Default)]
struct Dir {
    current: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
}

type Name = (Ino, String);

/// What one call did, all of it or nothing.
struct Change {
    mutation: Mutation,
    entries: Vec<(Name, Option<Node>)>,
}

impl Change {
    fn touches(&self, names: &BTreeSet<Name>) -> bool {
        self.entries.iter().any(|(name, _)| names.contains(name))
    }
}

pub struct Names {
    dirs: BTreeMap<Ino, Dir>,
    /// Not yet durable, in the order in which they were made.
    changes: Vec<Change>,
    next: u64,
}

impl Default for Names {
    fn default() -> Self {
        let dirs = BTreeMap::from([(Ino::ROOT, Dir::default())]);
        Self { dirs, changes: Vec::new(), next: 1 }
    }
}

impl Names {
    pub fn file(&self, path: &str) -> io::Result<Ino> {
        match self.node(path)? {
            Node::File(ino) => Ok(ino),
            Node::Dir(_) => Err(io::Error::from_raw_os_error(EISDIR)),
        }
    }

    /// The file of that name, made if missing.
    pub fn create(&mut self, mutation: Mutation, path: &str) -> io::Result<Ino> {
        match self.file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let name = self.name(path)?;
                let ino = self.issue();
                self.change(mutation, vec![(name, Some(Node::File(ino)))]);
                Ok(ino)
            }
            other => other,
        }
    }

    pub fn make_dir(&mut self, mutation: Mutation, path: &str) -> io::Result<()> {
        let name = self.name(path)?;
        match self.node(path) {
            Ok(Node::Dir(_)) => return Ok(()),
            Ok(Node::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => {}
        }
        let ino = self.issue();
        self.dirs.insert(ino, Dir::default());
        self.change(mutation, vec![(name, Some(Node::Dir(ino)))]);
        Ok(())
    }

    pub fn rename(&mut self, mutation: Mutation, from: &str, to: &str) -> io::Result<()> {
        let node = self.node(from)?;
        let (from, to) = (self.name(from)?, self.name(to)?);
        if from != to {
            self.change(mutation, vec![(from, None), (to, Some(node))]);
        }
        Ok(())
    }

    pub fn unlink(&mut self, mutation: Mutation, path: &str) -> io::Result<()> {
        self.file(path)?;
        let name = self.name(path)?;
        self.change(mutation, vec![(name, None)]);
        Ok(())
    }

    pub fn remove_dir(&mut self, mutation: Mutation, path: &str) -> io::Result<()> {
        if !self.dir(self.dir_ino(path)?).current.is_empty() {
            return Err(io::Error::from_raw_os_error(ENOTEMPTY));
        }
        let name = self.name(path)?;
        self.change(mutation, vec![(name, None)]);
        Ok(())
    }

    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        Ok(self.dir(self.dir_ino(path)?).current.keys().cloned().collect())
    }

    pub fn dir_ino(&self, path: &str) -> io::Result<Ino> {
        match self.node(path)? {
            Node::Dir(ino) => Ok(ino),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The changes that are not durable.
    pub fn unsynced(&self) -> impl Iterator<Item = Mutation> {
        self.changes.iter().map(|change| change.mutation)
    }

    /// Makes the changes up to `last` durable, as far as they touch `dir`.
    pub fn sync(&mut self, dir: Ino, last: Mutation) {
        self.settle(|change| {
            change.mutation <= last && change.entries.iter().any(|((parent, _), _)| *parent == dir)
        });
    }

    /// After a power cut: of the changes that are not durable, only those that `keeps` remain, and
    /// what they rest on.
    pub fn cut(&mut self, keeps: impl Fn(Mutation) -> bool) {
        self.settle(|change| keeps(change.mutation));
        self.changes.clear();
        for dir in self.dirs.values_mut() {
            dir.current.clone_from(&dir.durable);
        }
        let mut reached = BTreeSet::from([Ino::ROOT]);
        let mut open = vec![Ino::ROOT];
        while let Some(ino) = open.pop() {
            for node in self.dir(ino).current.values() {
                if let Node::Dir(child) = *node
                    && reached.insert(child)
                {
                    open.push(child);
                }
            }
        }
        self.dirs.retain(|ino, _| reached.contains(ino));
    }

    /// Files and directories that have a name now.
    pub fn current_count(&self) -> usize {
        self.dirs.values().map(|dir| dir.current.len()).sum()
    }

    /// Files that a name leads to now.
    pub fn current_files(&self) -> impl Iterator<Item = Ino> {
        let nodes = self.dirs.values().flat_map(|dir| dir.current.values());
        nodes.filter_map(|node| match *node {
            Node::File(ino) => Some(ino),
            Node::Dir(_) => None,
        })
    }

    /// Files that a name leads to, now or after a power cut.
    pub fn files(&self) -> BTreeSet<Ino> {
        let named =
            self.dirs.values().flat_map(|dir| dir.current.values().chain(dir.durable.values()));
        let pending = self.changes.iter().flat_map(|change| &change.entries);
        named
            .chain(pending.filter_map(|(_, node)| node.as_ref()))
            .filter_map(|node| match *node {
                Node::File(ino) => Some(ino),
                Node::Dir(_) => None,
            })
            .collect()
    }

    /// Makes the changes that are `wanted` durable, with every earlier one of the same names.
    fn settle(&mut self, wants: impl Fn(&Change) -> bool) {
        let mut names = BTreeSet::new();
        let mut wanted: Vec<bool> = self.changes.iter().map(wants).collect();
        for (change, wanted) in self.changes.iter().zip(&mut wanted).rev() {
            *wanted = *wanted || change.touches(&names);
            if *wanted {
                names.extend(change.entries.iter().map(|(name, _)| name.clone()));
            }
        }
        let changes = std::mem::take(&mut self.changes);
        for (change, wanted) in changes.into_iter().zip(wanted) {
            if !wanted {
                self.changes.push(change);
                continue;
            }
            for ((dir, name), node) in change.entries {
                if let Some(dir) = self.dirs.get_mut(&dir) {
                    set(&mut dir.durable, name, node);
                }
            }
        }
    }

    fn change(&mut self, mutation: Mutation, entries: Vec<(Name, Option<Node>)>) {
        for ((dir, name), node) in &entries {
            let dir = self.dirs.get_mut(dir).expect("a name's directory was found just before");
            set(&mut dir.current, name.clone(), *node);
        }
        self.changes.push(Change { mutation, entries });
    }

    const fn issue(&mut self) -> Ino {
        let ino = Ino(self.next);
        self.next += 1;
        ino
    }

    fn node(&self, path: &str) -> io::Result<Node> {
        path.split('/').filter(|part| !part.is_empty() && *part != ".").try_fold(
            Node::Dir(Ino::ROOT),
            |node, part| match node {
                Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
                Node::Dir(ino) => {
                    let entry = self.dir(ino).current.get(part).copied();
                    entry.ok_or_else(|| io::ErrorKind::NotFound.into())
                }
            },
        )
    }

    /// Where the last part of `path` is written.
    fn name(&self, path: &str) -> io::Result<Name> {
        let path = path.trim_end_matches('/');
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() || name == "." {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((self.dir_ino(parent)?, name.to_owned()))
    }

    fn dir(&self, ino: Ino) -> &Dir {
        self.dirs.get(&ino).expect("a directory's entry outlives its names")
    }
}

fn set(names: &mut BTreeMap<String, Node>, name: String, node: Option<Node>) {
    match node {
        Some(node) => names.insert(name, node),
        None => names.remove(&name),
    };
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[track_caller]
    fn check(names: &Names, path: &str, want: &[&str]) {
        assert_eq!(names.list(path).unwrap(), want);
    }

    fn sync(names: &mut Names, path: &str) {
        let dir = names.dir_ino(path).unwrap();
        names.sync(dir, u64::MAX);
    }

    #[test]
    fn a_name_is_lost_until_its_directory_is_synced() {
        let mut names = Names::default();
        names.make_dir(1, "a").unwrap();
        sync(&mut names, "");
        names.create(2, "a/kept").unwrap();
        sync(&mut names, "a");
        names.create(3, "a/lost").unwrap();
        names.cut(|_| false);
        check(&names, "a", &["kept"]);
    }

    #[test]
    fn a_sync_covers_only_what_came_before() {
        let mut names = Names::default();
        names.create(1, "kept").unwrap();
        names.create(2, "lost").unwrap();
        names.sync(names.dir_ino("").unwrap(), 1);
        names.cut(|_| false);
        check(&names, "", &["kept"]);
    }

    #[test]
    fn a_synced_name_in_a_lost_directory_is_lost() {
        let mut names = Names::default();
        names.make_dir(1, "a").unwrap();
        names.create(2, "a/b").unwrap();
        sync(&mut names, "a");
        names.cut(|_| false);
        check(&names, "", &[]);
    }

    #[test]
    fn a_rename_is_whole_or_not_at_all() {
        for kept in [false, true] {
            let mut names = Names::default();
            let old = names.create(1, "final").unwrap();
            let new = names.create(2, "temp").unwrap();
            sync(&mut names, "");
            names.rename(3, "temp", "final").unwrap();
            names.cut(|_| kept);
            assert_eq!(names.file("final").unwrap(), if kept { new } else { old });
            assert_eq!(names.file("temp").is_ok(), !kept);
        }
    }

    #[test]
    fn a_kept_change_keeps_what_it_rests_on() {
        let mut names = Names::default();
        let file = names.create(1, "temp").unwrap();
        names.rename(2, "temp", "final").unwrap();
        names.cut(|mutation| mutation == 2);
        check(&names, "", &["final"]);
        assert_eq!(names.file("final").unwrap(), file);
    }

    #[test]
    fn an_unlinked_file_may_come_back() {
        let mut names = Names::default();
        names.create(1, "a").unwrap();
        sync(&mut names, "");
        names.unlink(2, "a").unwrap();
        check(&names, "", &[]);
        assert_eq!(names.files().len(), 1);
        names.cut(|_| false);
        check(&names, "", &["a"]);
    }

    #[test]
    fn a_directory_moves_with_what_is_in_it() {
        let mut names = Names::default();
        names.make_dir(1, "a").unwrap();
        names.create(2, "a/b").unwrap();
        assert!(names.remove_dir(3, "a").is_err());
        names.rename(4, "a", "c").unwrap();
        check(&names, "c", &["b"]);
        assert!(names.file("a/b").is_err());
    }
}
