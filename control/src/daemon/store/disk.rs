//! What the state directory does to the disk, so that tests can end it at any step.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// The steps that change something.
pub trait Disk: Send {
    /// A file with this content, on the medium when this returns. What was there is lost.
    ///
    /// # Errors
    /// The system's.
    fn write(&mut self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Another name for a file, on the medium when this returns. What had it is gone.
    ///
    /// # Errors
    /// The system's.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// No such file any more.
    ///
    /// # Errors
    /// The system's.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
}

/// The real one.
pub struct Real;

impl Disk for Real {
    fn write(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        // Snapshots may name what not everybody should know, and secrets are kept too.
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        file.sync_all()
    }
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        sync_parent(to)
    }
    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// A new name is on the medium when its directory is.
fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
