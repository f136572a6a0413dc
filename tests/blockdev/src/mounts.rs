//! Loop devices and mounts that go when they are dropped.

use crate::Result;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

impl Kind {
    pub(crate) fn from_name(name: &str) -> Result<Self> {
        match name {
            "ext4" => Ok(Self::Ext4),
            "xfs" => Ok(Self::Xfs),
            "btrfs" => Ok(Self::Btrfs),
            other => Err(format!("{other}: ext4, xfs and btrfs are known").into()),
        }
    }

    /// The smallest device that its `mkfs` takes, or a comfortable one, in MiB.
    pub(crate) fn mebibytes(self) -> u64 {
        match self {
            Self::Ext4 => 96,
            Self::Xfs => 304,
            Self::Btrfs => 128,
        }
    }

    pub(crate) fn make(self, device: &Path) -> Result<()> {
        let device = device.to_str().ok_or("a device with an odd name")?;
        match self {
            Self::Ext4 => {
                run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", device])
            }
            Self::Xfs => run("mkfs.xfs", &["-q", "-f", "-K", device]),
            Self::Btrfs => run("mkfs.btrfs", &["-q", "-f", "-K", device]),
        }
        .map(drop)
    }
}

/// Runs a tool; what it printed.
pub(crate) fn run(tool: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(tool).args(args).output().map_err(|error| format!("{tool}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{tool} {args:?}: {}: {}", output.status, said.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A loop device.
pub(crate) struct Loop(pub(crate) PathBuf);

impl Loop {
    pub(crate) fn over(file: &Path) -> Result<Self> {
        let file = file.to_str().ok_or("a file with an odd name")?;
        Ok(Self(run("losetup", &["-f", "--show", file])?.into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Err(error) = run("losetup", &["-d", &self.0.to_string_lossy()]) {
            eprintln!("{error}");
        }
    }
}

/// A mounted file system.
pub(crate) struct Mount(pub(crate) PathBuf);

impl Mount {
    pub(crate) fn of(device: &Path, at: &Path) -> Result<Self> {
        Self::with(&[], &device.to_string_lossy(), at)
    }

    pub(crate) fn with(options: &[&str], what: &str, at: &Path) -> Result<Self> {
        let at_text = at.to_str().ok_or("a directory with an odd name")?;
        run("mount", &[options, &[what, at_text]].concat())?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A store that was dropped is closed, but its thread may have some files open for a moment longer.
        for wait in 0..100 {
            match run("umount", &[&self.0.to_string_lossy()]) {
                Ok(_) => return,
                // What stays mounted would change the next image beneath it.
                Err(error) if wait == 99 => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}
