//! Files and folders of a test, which are gone when it is over, whether it passed or not.

use std::path::{Path, PathBuf};

/// A place in the folder for temporary files that no other test process has.
fn place(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("fanwire-{}-{name}", std::process::id()))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A file.
pub struct File(PathBuf);

impl File {
    /// A name for one that somebody else writes. Different names for different tests.
    pub fn new(name: &str) -> File {
        File(place(name))
    }

    /// One with this content.
    pub fn written(name: &str, content: impl AsRef<[u8]>) -> File {
        let file = File::new(name);
        std::fs::write(&file.0, content).expect("a temporary file");
        file
    }

    /// Its path as an argument.
    pub fn path(&self) -> &str {
        text(&self.0)
    }

    /// What was written into it.
    pub fn read(&self) -> String {
        std::fs::read_to_string(&self.0).expect("written")
    }

    /// Whether somebody wrote it.
    pub fn exists(&self) -> bool {
        self.0.exists()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A folder.
pub struct Folder(PathBuf);

impl Folder {
    /// An empty one. Different names for different tests.
    pub fn new(name: &str) -> Folder {
        let path = place(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    /// The path of a file in it, as an argument.
    pub fn file(&self, name: &str) -> String {
        text(&self.0.join(name)).to_owned()
    }

    /// Writes a file, and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.file(name);
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// What was written into a file of it.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).expect("written")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
