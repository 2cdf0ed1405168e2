//! A replica as a container would be: the released program, a memory limit, and a small disk for its log.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use test_support::api_server::ApiServer;
use test_support::webhook::WebhookProcess;

use super::Plan;
use crate::hostile::memory_group::MemoryGroup;

/// A new certificate each minute.
const FLAGS: [&str; 6] = ["--cert-check-interval", "5s", "--leaf-life", "60s", "--lame-duck", "3s"];
/// Size of the disk; a few minutes of a log at the usual level fit.
const DISK: &str = "size=256k";

pub(super) struct Replica {
    pub process: WebhookProcess,
    group: Arc<MemoryGroup>,
    disk: Disk,
    /// Holds the script that starts it.
    _folder: TempDir,
}

/// What a replica uses at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Memory in bytes.
    pub memory: u64,
    /// Open files and connections.
    pub descriptors: usize,
    pub threads: usize,
}

impl Replica {
    /// Whether this user may limit memory, and mount a disk.
    pub(super) fn prerequisites(plan: &Plan) -> Result<()> {
        MemoryGroup::new(plan.memory)?;
        let folder = tempfile::tempdir()?;
        Disk::new(&folder.path().join("disk"))?;
        Ok(())
    }

    pub(super) async fn start(plan: &Plan, api_server: &ApiServer) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let group = Arc::new(MemoryGroup::new(plan.memory)?);
        let disk = Disk::new(&folder.path().join("disk"))?;
        // Its log goes to the disk, where the tests look for it by a link.
        let script = format!(
            "#!/bin/sh\nset -e\nexport MIMALLOC_ARENA_EAGER_COMMIT=0 MIMALLOC_PURGE_DELAY=0\necho $$ >{}\nlog=$(readlink /proc/$$/fd/2)\nln -sf {log} \"$log\"\nexec {} \"$@\" 2>>{log}\n",
            group.entrance().display(),
            plan.program.display(),
            log = disk.0.join("log").display()
        );
        let program = folder.path().join("webhook");
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let process = WebhookProcess::start_self_managed_program(&program, api_server, &FLAGS).await?;
        Ok(Self { process, group, disk, _folder: folder })
    }

    pub(super) fn meter(&self) -> Meter {
        Meter { id: self.process.child.id().unwrap_or_default(), group: Arc::clone(&self.group) }
    }

    /// How it has ended, and the end of its log, if it has.
    pub(super) fn has_ended(&mut self) -> Option<String> {
        let status = self.process.child.try_wait().ok().flatten()?;
        let log = self.process.log();
        let last: Vec<_> = log.lines().rev().take(5).collect();
        Some(format!("{status}; {} kills for memory; its log ends with {last:#?}", self.group.kills()))
    }

    /// What must not have happened to it.
    pub(super) fn defects(&self) -> Vec<String> {
        let log = self.process.log();
        let mut defects: Vec<_> =
            log.lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect();
        if self.group.kills() > 0 {
            defects.push("the kernel killed a replica for its memory".to_owned());
        }
        defects
    }

    pub(super) fn fill_disk(&self) {
        // Until there is no room, which is an error.
        _ = fs::write(self.disk.0.join("filler"), vec![0; 1024 * 1024]);
    }

    pub(super) fn empty_disk(&self) -> Result<()> {
        fs::remove_file(self.disk.0.join("filler"))?;
        Ok(())
    }
}

/// Measures a replica from outside.
pub(super) struct Meter {
    id: u32,
    group: Arc<MemoryGroup>,
}

impl Meter {
    pub(super) fn read(&self) -> Usage {
        let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", self.id)).map_or(0, Iterator::count);
        Usage { memory: self.group.usage().all, descriptors: count("fd"), threads: count("task") }
    }
}

/// A file system in memory, removed on drop.
struct Disk(PathBuf);

impl Disk {
    fn new(path: &Path) -> Result<Self> {
        fs::create_dir(path)?;
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "soak"]).arg(path).status()?;
        ensure!(status.success(), "cannot mount a small file system at {}; are you root?", path.display());
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The process may still have its log open.
        _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
