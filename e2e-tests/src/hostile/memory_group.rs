//! A control group that limits the memory of the processes in it, as the kubelet does for a container.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Where the controllers are mounted, in both versions of the interface.
const MOUNT: &str = "/sys/fs/cgroup";
const NAME: &str = "azwi-hostile-";
/// Groups of this process, for names of their own.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A group. It is removed when this is dropped; its processes must have ended by then.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// A hierarchy for memory alone, where buffers of sockets are counted apart.
    V1,
    /// One hierarchy for everything.
    V2,
}

/// What a group's processes use at the moment, without the files that the kernel could forget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Everything, in bytes.
    pub all: u64,
    /// Of it, the buffers of sockets.
    pub sockets: u64,
}

impl MemoryGroup {
    /// Makes a group that may use `limit` bytes and no swap.
    ///
    /// # Errors
    /// This system or this user cannot make one.
    pub fn new(limit: u64) -> Result<Self> {
        let (parent, version) = parent()?;
        remove_leftovers(&parent);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("{NAME}{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let group = Self { folder, version };
        match version {
            Version::V1 => {
                group.write("memory.limit_in_bytes", limit)?;
                // Only a limit makes the kernel count them.
                group.write("memory.kmem.tcp.limit_in_bytes", limit)?;
                // Absent where the kernel does not count swap.
                _ = group.write("memory.memsw.limit_in_bytes", limit);
            }
            Version::V2 => {
                group.write("memory.max", limit)?;
                _ = group.write("memory.swap.max", 0);
            }
        }
        Ok(group)
    }

    /// The file that takes the id of a process which is to be in the group.
    pub fn entrance(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// The most that was ever in use, in bytes, with files that the kernel could have forgotten.
    pub fn peak(&self) -> u64 {
        self.number(match self.version {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        })
    }

    /// What is in use.
    pub fn usage(&self) -> Usage {
        match self.version {
            Version::V1 => {
                let sockets = self.number("memory.kmem.tcp.usage_in_bytes");
                let others =
                    self.number("memory.usage_in_bytes").saturating_sub(self.entry("memory.stat", "cache"));
                Usage { all: others + sockets, sockets }
            }
            Version::V2 => Usage {
                all: self.number("memory.current").saturating_sub(self.entry("memory.stat", "file")),
                sockets: self.entry("memory.stat", "sock"),
            },
        }
    }

    /// How many processes the kernel has killed because there was no memory left.
    pub fn kills(&self) -> u64 {
        self.entry(
            match self.version {
                Version::V1 => "memory.oom_control",
                Version::V2 => "memory.events",
            },
            "oom_kill",
        )
    }

    fn write(&self, file: &str, value: u64) -> Result<()> {
        std::fs::write(self.folder.join(file), value.to_string())
            .with_context(|| format!("cannot write {file} of {}", self.folder.display()))
    }

    fn number(&self, file: &str) -> u64 {
        self.text(file).trim().parse().unwrap_or_default()
    }

    /// A number in a file that has lines of a name and a number.
    fn entry(&self, file: &str, name: &str) -> u64 {
        let text = self.text(file);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
    }

    fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A process that has just ended may still be in it.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Where a group can be made.
fn parent() -> Result<(PathBuf, Version)> {
    let mount = Path::new(MOUNT);
    let unified = mount.join("cgroup.controllers");
    if let Ok(controllers) = std::fs::read_to_string(&unified) {
        ensure!(
            controllers.split_whitespace().any(|controller| controller == "memory"),
            "{} does not name the memory controller",
            unified.display()
        );
        let switch = mount.join("cgroup.subtree_control");
        std::fs::write(&switch, "+memory").with_context(|| format!("cannot write {}", switch.display()))?;
        return Ok((mount.to_owned(), Version::V2));
    }
    let memory = mount.join("memory");
    ensure!(memory.join("cgroup.procs").exists(), "there is no memory controller at {MOUNT}");
    Ok((memory, Version::V1))
}

/// Removes what an earlier run left that was ended from outside; groups in use cannot be removed.
fn remove_leftovers(parent: &Path) {
    for folder in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if folder.file_name().to_string_lossy().starts_with(NAME) {
            _ = std::fs::remove_dir(folder.path());
        }
    }
}
