//! System information about a process.

use std::time::Duration;

use anyhow::{Context as _, Result};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(pub u32);

impl Process {
    /// CPU time in user and kernel mode.
    ///
    /// # Errors
    /// The process has ended.
    pub(crate) fn cpu_time(self) -> Result<Duration> {
        /// Linux reports hundredths of a second to programs, regardless of the kernel's own clock.
        const TICK: Duration = Duration::from_millis(10);
        let stat = self.read("stat")?;
        // The second field is the program's name in parentheses, which may contain spaces.
        let fields = stat.rsplit_once(')').map_or(&*stat, |(_, fields)| fields);
        let ticks: Option<Vec<u32>> =
            fields.split_whitespace().skip(11).take(2).map(|field| field.parse().ok()).collect();
        let ticks = ticks.with_context(|| format!("unexpected /proc/{}/stat", self.0))?;
        Ok(TICK * ticks.iter().sum())
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// The process has ended.
    pub(crate) fn resident_memory(self) -> Result<u64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        Ok(kilobytes.with_context(|| format!("unexpected /proc/{}/status", self.0))? * 1024)
    }

    fn read(self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.0);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}; has the process ended?"))
    }
}
