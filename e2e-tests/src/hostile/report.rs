//! The table: a line for each attack, with its defects.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::bystanders::{ADMISSION_LIMIT, Observations, PROBE_LIMIT, Series};
use super::process::Webhook;
use super::{Findings, Most};

/// How often each bystander must be served for the results to count.
const LEAST: usize = 3;

/// Result of an attack.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub name: String,
    /// Defects and other remarks; without defects the attack was withstood.
    pub findings: Findings,
    /// Total duration, including setup.
    pub took: Duration,
    is_alive: Option<bool>,
    observations: Option<Observations>,
    memory: Option<Most>,
}

impl Row {
    /// An attack without results yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// An attack without bystanders: its duration, and the memory it needed if known.
    pub fn alone(name: &str, took: Duration, memory: Option<u64>) -> Self {
        let memory = memory.map(|peak| Most { peak, resident: peak, ..Most::default() });
        Self { took, memory, ..Self::new(name) }
    }

    pub fn is_withstood(&self) -> bool {
        self.findings.defects.is_empty()
    }

    /// Whether the process survived, and only someone else was served late or not at all: attackers, bystanders and
    /// webhook share two processors, and a bystander without processor time looks like one that is not served.
    pub fn may_be_the_machines_fault(&self) -> bool {
        self.is_alive == Some(true) && self.memory.is_none_or(|memory| memory.kills == 0)
    }

    /// Judges the process, its memory, and the bystanders' results.
    pub fn judge(&mut self, webhook: &mut Webhook, memory: Most, limit: u64, observations: Observations) {
        let end = webhook.has_ended();
        self.is_alive = Some(end.is_none());
        match end {
            // It is then obvious that nobody was served any more.
            Some(how) if memory.kills > 0 => {
                self.findings.defects.push(format!("the kernel killed it for its memory ({how})"));
            }
            Some(how) => {
                self.findings.defects.push(format!("the process ended ({how})"));
                self.findings.notes.push(format!("its log ends with: {}", webhook.last_lines()));
            }
            None => {
                for (name, series) in observations.all() {
                    let limit = if name.starts_with('/') { PROBE_LIMIT } else { ADMISSION_LIMIT };
                    self.findings.defects.extend(defect(name, series, limit));
                }
                if memory.usage.all > limit {
                    self.findings.defects.push(format!(
                        "with {} MiB in buffers of sockets it uses {} MiB, over the limit where those count too",
                        mebibytes(memory.usage.sockets),
                        mebibytes(memory.usage.all)
                    ));
                }
            }
        }
        self.findings
            .defects
            .extend(webhook.panics().into_iter().take(1).map(|line| format!("it panicked: {line}")));
        if observations.lag > Duration::from_millis(200) {
            self.findings
                .notes
                .push(format!("the harness itself was late by up to {} ms", observations.lag.as_millis()));
        }
        self.observations = Some(observations);
        self.memory = Some(memory);
    }
}

fn defect(name: &str, series: &Series, limit: Duration) -> Option<String> {
    if let Some(failure) = &series.first_failure {
        return Some(format!(
            "{name}: {} of {} failed: {failure}",
            series.failed,
            series.failed + series.served
        ));
    }
    if series.worst > limit {
        return Some(format!("{name}: waited {} ms", series.worst.as_millis()));
    }
    (series.served < LEAST).then(|| format!("{name}: was served only {} times", series.served))
}

fn mebibytes(bytes: u64) -> String {
    // Tenths are enough, and integers are exact.
    let tenths = bytes * 10 / (1024 * 1024);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Number columns: their common heading, and their own.
const COLUMNS: [(&str, &str); 10] = [
    ("", "s"),
    ("", "alive"),
    ("", "kept"),
    ("bystander", "new"),
    ("ms", "reopen"),
    ("probe", "worst"),
    ("ms", "peak"),
    ("MiB", "process"),
    ("", "sockets"),
    ("", "killed"),
];

fn line(name: &str, is_withstood: &str, cells: [String; COLUMNS.len()]) -> String {
    let mut line = format!("{name:<74} {is_withstood:>9}");
    for cell in cells {
        // Writing to a String cannot fail.
        _ = write!(line, " {cell:>7}");
    }
    line
}

/// The lines above the table.
pub fn head() -> String {
    let above = line("", "", COLUMNS.map(|(above, _)| above.to_owned()));
    format!("{above}\n{}", line("attack", "withstood", COLUMNS.map(|(_, name)| name.to_owned())))
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes_or = |is: bool, no: &'static str| if is { "yes" } else { no };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let seen = self.observations.as_ref();
        let time =
            |pick: fn(&Observations) -> Duration| or_dash(seen.map(|it| pick(it).as_millis().to_string()));
        let bytes = |pick: fn(&Most) -> u64| or_dash(self.memory.as_ref().map(|it| mebibytes(pick(it))));
        let cells = [
            format!("{:.1}", self.took.as_secs_f64()),
            or_dash(self.is_alive.map(|is| yes_or(is, "NO").to_owned())),
            time(|seen| seen.kept.worst),
            time(|seen| seen.new.worst),
            or_dash(seen.map(|seen| seen.kept.reconnects.to_string())),
            time(|seen| seen.livez.worst.max(seen.readyz.worst)),
            bytes(|most| most.peak),
            bytes(|most| most.resident),
            bytes(|most| most.usage.sockets),
            or_dash(self.memory.as_ref().map(|most| yes_or(most.kills > 0, "no").to_owned())),
        ];
        f.write_str(&line(&self.name, yes_or(self.is_withstood(), "NO"), cells))?;
        for defect in &self.findings.defects {
            write!(f, "\n    - {}", shortened(defect))?;
        }
        for note in &self.findings.notes {
            write!(f, "\n    . {}", shortened(note))?;
        }
        Ok(())
    }
}

/// One line, truncated.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 400;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if text.len() > LONGEST { format!("{line}...") } else { line }
}
