//! For tests: a folder with files of a host that does not exist.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::measure::environment::facts::HostFiles;

/// A folder that is gone with its owner.
pub struct Tree(PathBuf);

impl Drop for Tree {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever empties the folder of temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A host with these files.
pub fn tree(files: &[(&str, &str)]) -> (Tree, HostFiles) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let root = std::env::temp_dir().join(format!("fanwire-doctor-{}-{number}", std::process::id()));
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let host = HostFiles::under(&root);
    (Tree(root), host)
}
