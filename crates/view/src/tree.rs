//! Directories and files by name.

use crate::content::Content;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The number of the tree's root.
pub const ROOT: usize = 0;

/// A directory or a file.
pub struct Node {
    /// The directory that it is in; the root is in itself.
    pub parent: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
pub enum Kind {
    /// A directory: numbers of nodes by name.
    Directory(BTreeMap<String, usize>),
    /// A file.
    File(Arc<dyn Content>),
}

/// Directories and files, each with a number.
pub struct Tree {
    nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node { parent: ROOT, kind: Kind::Directory(BTreeMap::new()) }] }
    }
}

impl Tree {
    /// Adds a directory to another one and returns its number.
    pub fn directory(&mut self, parent: usize, name: &str) -> usize {
        self.add(parent, name, Kind::Directory(BTreeMap::new()))
    }

    /// Adds a file to a directory.
    pub fn file(&mut self, parent: usize, name: &str, content: impl Content + 'static) {
        self.add(parent, name, Kind::File(Arc::new(content)));
    }

    /// What a name stands for is what was added last under it.
    fn add(&mut self, parent: usize, name: &str, kind: Kind) -> usize {
        let number = self.nodes.len();
        if let Some(Node { kind: Kind::Directory(names), .. }) = self.nodes.get_mut(parent) {
            names.insert(name.to_owned(), number);
        }
        self.nodes.push(Node { parent, kind });
        number
    }

    /// The node of this number.
    pub fn node(&self, number: usize) -> Option<&Node> {
        self.nodes.get(number)
    }

    /// The number of what is called `name` in a directory.
    pub fn child(&self, directory: usize, name: &str) -> Option<usize> {
        match &self.node(directory)?.kind {
            Kind::Directory(names) => names.get(name).copied(),
            Kind::File(_) => None,
        }
    }

    /// The file at a path from the root, with slashes between names.
    pub fn at(&self, path: &str) -> Option<&dyn Content> {
        let number = path.split('/').try_fold(ROOT, |directory, name| self.child(directory, name))?;
        match &self.node(number)?.kind {
            Kind::File(content) => Some(&**content),
            Kind::Directory(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Bytes;

    #[test]
    fn a_file_is_found_by_its_path_and_nothing_else_is() {
        let mut tree = Tree::default();
        tree.file(ROOT, "a", Bytes(vec![1]));
        let notes = tree.directory(ROOT, "notes");
        tree.file(notes, "b", Bytes(vec![1, 2]));
        assert_eq!(tree.at("a").map(Content::len), Some(1));
        assert_eq!(tree.at("notes/b").map(Content::len), Some(2));
        for path in ["", "notes", "b", "a/b", "notes/..", "../a", "/a"] {
            assert!(tree.at(path).is_none(), "{path}");
        }
        assert_eq!(tree.node(notes).map(|node| node.parent), Some(ROOT));
    }
}
