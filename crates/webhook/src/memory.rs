//! The memory limit of this process, from its container's cgroup.

use std::path::{Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";

/// The memory limit of this process's container in bytes; `None` without a limit or a cgroup.
pub fn container_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_of(&groups, Path::new(CGROUPS))
}

/// The smallest limit of the groups in `groups`, in the format of `/proc/self/cgroup`, and of their parents.
fn limit_of(groups: &str, root: &Path) -> Option<u64> {
    let mut smallest: Option<u64> = None;
    for line in groups.lines() {
        // Hierarchy, controllers, path. The unified hierarchy (v2) names no controllers.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (hierarchy, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|it| it == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // Inside a container, the path may be the host's and not exist; the root is then the container's group.
        let group = hierarchy.join(path.trim_start_matches('/'));
        for folder in group.ancestors().take_while(|folder| folder.starts_with(&hierarchy)) {
            if let Some(limit) = read_limit(&folder.join(file)) {
                smallest = Some(smallest.map_or(limit, |smallest| smallest.min(limit)));
            }
        }
    }
    smallest
}

fn read_limit(file: &PathBuf) -> Option<u64> {
    /// Without a limit, version 1 reports about 8 EiB, version 2 `max`.
    const NO_LIMIT: u64 = 1 << 60;
    let limit: u64 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (limit < NO_LIMIT).then_some(limit)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::limit_of;

    fn write(root: &Path, file: &str, content: &str) {
        let file = root.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }

    #[test]
    fn the_smallest_limit_counts_in_both_versions() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "memory.max", "max\n");
        write(root, "pods/memory.max", "104857600\n");
        write(root, "pods/one/memory.max", "max\n");
        assert_eq!(limit_of("0::/pods/one\n", root), Some(104_857_600));
        write(root, "pods/one/memory.max", "67108864\n");
        assert_eq!(limit_of("0::/pods/one\n", root), Some(67_108_864));
        write(root, "memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit_of("4:memory:/docker/abc\n1:cpu:/\n", root), None);
        write(root, "memory/memory.limit_in_bytes", "33554432\n");
        assert_eq!(limit_of("4:cpu,memory:/docker/abc\n0::/pods\n", root), Some(33_554_432));
    }

    #[test]
    fn no_cgroup_is_no_limit() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(limit_of("0::/\nrubbish\n", root.path()), None);
    }
}
