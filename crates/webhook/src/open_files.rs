//! The limit on open files of this process: each connection is one.

use tracing::warn;

use crate::admin::MOST_CONNECTIONS;

/// Files other than connections to port 9443: those for health, metrics and API server reads, and a few of the
/// program's own.
const OTHERS: u64 = 2 * MOST_CONNECTIONS as u64 + 128;

/// Raises the limit on open files as far as possible without privileges, as Go programs do by default: container
/// runtimes start with 1,024 for programs that use `select`. Returns how many connections are possible, at most
/// `wanted`.
pub(crate) fn room_for(wanted: usize) -> usize {
    let files = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => files,
        Err(error) => {
            warn!(%error, "the limit of open files cannot be raised");
            return wanted;
        }
    };
    let connections = connections(files, wanted);
    if connections < wanted {
        warn!(
            open_files = files,
            wanted,
            max_connections = connections,
            "there are fewer connections than --max-connections says, because fewer files may be open; raise the limit (ulimit -n)"
        );
    }
    connections
}

fn connections(files: u64, wanted: usize) -> usize {
    let room = usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(usize::MAX);
    wanted.min(room.max(1))
}

#[cfg(test)]
mod tests {
    use super::connections;

    #[test]
    fn connections_leave_files_for_the_rest() {
        assert_eq!(connections(1024, 455), 455);
        assert_eq!(connections(1024, 4096), 640);
        assert_eq!(connections(1 << 20, 4096), 4096);
        assert_eq!(connections(256, 4096), 1, "never none");
    }
}
