//! A control group that limits the memory of its processes, like the kubelet does for a container.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Mount point of the controllers, in both versions of the interface.
const MOUNT: &str = "/sys/fs/cgroup";
const NAME: &str = "azwi-hostile-";
/// Number of groups made by this process, for unique names.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A group. It is removed on drop; its processes must have ended by then.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// A separate hierarchy for memory, where socket buffers are counted separately.
    V1,
    /// One hierarchy for everything.
    V2,
}

/// Current usage of a group's processes, without files that the kernel could drop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// All memory, in bytes.
    pub all: u64,
    /// The part used by socket buffers.
    pub sockets: u64,
}

impl MemoryGroup {
    /// Makes a group that may use `limit` bytes and no swap.
    ///
    /// # Errors
    /// This system or this user cannot create a group.
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
                // The kernel counts them only with a limit.
                group.write("memory.kmem.tcp.limit_in_bytes", limit)?;
                // Missing if the kernel does not count swap.
                _ = group.write("memory.memsw.limit_in_bytes", limit);
            }
            Version::V2 => {
                group.write("memory.max", limit)?;
                _ = group.write("memory.swap.max", 0);
            }
        }
        Ok(group)
    }

    /// Writing a process id to this file moves the process into the group.
    pub fn entrance(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Peak usage in bytes, including files that the kernel could have dropped.
    pub fn peak(&self) -> u64 {
        self.number(match self.version {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        })
    }

    /// Current usage.
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

    /// How many processes the kernel has killed because memory ran out.
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

    /// A number from a file with lines of a name and a number.
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

/// A folder in which a group can be created.
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

/// Removes groups of an earlier run that was killed; groups in use cannot be removed.
fn remove_leftovers(parent: &Path) {
    for folder in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if folder.file_name().to_string_lossy().starts_with(NAME) {
            _ = std::fs::remove_dir(folder.path());
        }
    }
}
