//! A disk of its own, which may be full or read-only.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A folder on a disk in memory.
pub struct Disk(TempDir);

/// What takes all the room that was left, until it is dropped.
pub struct Ballast(PathBuf);

impl Disk {
    /// Of a size such as `2m`. `None`, and a word about it, where this user may not mount one.
    pub fn new(size: &str) -> Option<Disk> {
        let folder = TempDir::new().expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        if mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return Some(Disk(folder));
        }
        // Past the capture of output: whoever reads the test's log must see it.
        let _ = writeln!(std::io::stderr(), "SKIPPED: a test on a full disk: this user may not mount one");
        None
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn remount(&self, how: &str) {
        let done = Command::new("mount").args(["-o", how]).arg(self.path()).status().expect("mount");
        assert!(done.success());
    }

    pub fn fill(&self) -> Ballast {
        let path = self.path().join("ballast");
        let mut file = File::create(&path).expect("create");
        while file.write_all(&[0; 4096]).is_ok() {}
        Ballast(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
