//! What was seen: a table, a verdict, and a plot.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use super::fault::Fault;
use super::load::Second;
use super::replica::Usage;

/// A fault, and when it happened, counted from the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub fault: Fault,
    pub begin: Duration,
    /// With the pause after it.
    pub end: Duration,
}

#[derive(Debug)]
pub struct Report {
    /// Creations per second.
    pub(super) rate: u32,
    pub(super) seconds: Vec<Second>,
    pub(super) failures: Vec<(Duration, String)>,
    pub(super) events: Vec<Event>,
    /// The replica that was there all the time.
    pub(super) samples: Vec<(Duration, Usage)>,
    pub(super) defects: Vec<String>,
}

/// The creations during one kind of fault.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    times: usize,
    admitted: usize,
    failed: usize,
    worst: Duration,
}

/// How much more memory at the end than after the start is no growth: what comes and goes with the load.
const SPREAD: f64 = 1.15;
/// Open files that come and go with connections of the moment.
const SPARE_DESCRIPTORS: usize = 40;

impl Report {
    /// Whether only creations failed that may, and nothing has grown.
    pub fn is_good(&self) -> bool {
        self.unexpected_failures() == 0 && self.defects.is_empty() && self.growth().is_empty()
    }

    fn of(&self, event: &Event) -> impl Iterator<Item = &Second> {
        let whole = |time: Duration| usize::try_from(time.as_secs()).unwrap_or_default();
        let (begin, end) = (whole(event.begin), whole(event.end));
        self.seconds.iter().skip(begin).take(end - begin)
    }

    /// By fault, in the order in which they happen.
    fn sums(&self) -> Vec<(Fault, Sum)> {
        let mut sums: BTreeMap<usize, (Fault, Sum)> = BTreeMap::new();
        for event in &self.events {
            let place = Fault::ALL.iter().position(|fault| *fault == event.fault).unwrap_or_default();
            let (_, sum) = sums.entry(place).or_insert((event.fault, Sum::default()));
            sum.times += 1;
            for second in self.of(event) {
                sum.admitted += second.admitted;
                sum.failed += second.failed;
                sum.worst = sum.worst.max(second.worst);
            }
        }
        sums.into_values().collect()
    }

    fn unexpected_failures(&self) -> usize {
        self.sums().iter().filter(|(fault, _)| !fault.may_fail()).map(|(_, sum)| sum.failed).sum()
    }

    /// What has grown, comparing the same faults at the first time and at the last.
    fn growth(&self) -> Vec<String> {
        let median = |event: &Event, value: fn(&Usage) -> u64| {
            let mut values: Vec<u64> = self
                .samples
                .iter()
                .filter(|(time, _)| (event.begin..event.end).contains(time))
                .map(|(_, usage)| value(usage))
                .collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        let quiet: Vec<_> = self.events.iter().filter(|event| event.fault == Fault::None).collect();
        let (Some(first), Some(last)) = (quiet.get(1), quiet.last()) else { return Vec::new() };
        let mut grown = Vec::new();
        let memory = |event| median(event, |usage| usage.memory);
        #[allow(clippy::cast_precision_loss)]
        let ratio = memory(last) as f64 / memory(first) as f64;
        if ratio > SPREAD {
            grown.push(format!("memory has grown {ratio:.2} times"));
        }
        for (what, value) in [
            ("open files", (|usage: &Usage| usage.descriptors as u64) as fn(&Usage) -> u64),
            ("threads", |usage: &Usage| usage.threads as u64),
        ] {
            let (before, after) = (median(first, value), median(last, value));
            if after > before + SPARE_DESCRIPTORS as u64 {
                grown.push(format!("{what} have grown from {before} to {after}"));
            }
        }
        grown
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{} creations a second", self.rate)?;
        writeln!(
            f,
            "| what happened | times | admitted | failed | longest wait |\n|---|---:|---:|---:|---:|"
        )?;
        for (fault, sum) in self.sums() {
            let wait = sum.worst.as_millis();
            writeln!(
                f,
                "| {} | {} | {} | {} | {wait} ms |",
                fault.name(),
                sum.times,
                sum.admitted,
                sum.failed
            )?;
        }
        if let (Some((_, first)), Some((_, last))) = (self.samples.first(), self.samples.last()) {
            let most = self.samples.iter().map(|(_, usage)| usage.memory).max().unwrap_or_default();
            let mib = |bytes: u64| bytes / 1024 / 1024;
            writeln!(
                f,
                "\nThe replica that stayed: memory {} MiB at first, {} at most, {} at last; open files {} and {}; threads {} and {}.",
                mib(first.memory),
                mib(most),
                mib(last.memory),
                first.descriptors,
                last.descriptors,
                first.threads,
                last.threads
            )?;
        }
        for (time, why) in self.failures.iter().take(20) {
            writeln!(f, "failed at {} s: {why}", time.as_secs())?;
        }
        for defect in self.defects.iter().chain(&self.growth()) {
            writeln!(f, "defect: {defect}")?;
        }
        let result = if self.is_good() { "good" } else { "not good" };
        writeln!(f, "{} creations failed that should not have; {result}", self.unexpected_failures())
    }
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 30.0;
const STYLE: &str = "<style>text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.grid{stroke:#ddd}\
    .line{stroke:#3a76b0;fill:none}.fault{fill:#f6e7c1}.fault:hover{fill:#f0c36d}.may{fill:#f2d0cb}</style>";

impl Report {
    /// Three panels over time, with a band for each fault.
    #[allow(clippy::cast_precision_loss)]
    pub fn plot(&self) -> String {
        let end = self.events.last().map_or(1.0, |event| event.end.as_secs_f64());
        let x = |time: f64| LEFT + WIDTH * (time / end).min(1.0);
        let waits = self.seconds.iter().enumerate().map(|(i, it)| (i as f64, it.worst.as_secs_f64() * 1e3));
        let memory = self.samples.iter().map(|(t, it)| (t.as_secs_f64(), it.memory as f64 / 1_048_576.0));
        let files = self.samples.iter().map(|(t, it)| (t.as_secs_f64(), it.descriptors as f64));
        let panels: [(&str, Vec<(f64, f64)>); 3] = [
            ("longest wait in each second, ms", waits.collect()),
            ("memory of the replica that stays, MiB", memory.collect()),
            ("its open files", files.collect()),
        ];
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\">{STYLE}\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
            LEFT + WIDTH + 20.0,
            3.0 * (HEIGHT + 50.0) + TOP
        );
        for (number, (title, points)) in panels.iter().enumerate() {
            let top = TOP + number as f64 * (HEIGHT + 50.0);
            let most = points.iter().map(|(_, value)| *value).fold(1.0, f64::max);
            let y = |value: f64| top + HEIGHT * (1.0 - value / most);
            for event in &self.events {
                let (from, to) = (x(event.begin.as_secs_f64()), x(event.end.as_secs_f64()));
                let class = if event.fault.may_fail() { "may" } else { "fault" };
                // Writing to a String cannot fail, here and below.
                _ = writeln!(
                    svg,
                    r#"<rect class="{class}" x="{from:.1}" y="{top}" width="{:.1}" height="{HEIGHT}"><title>{}</title></rect>"#,
                    to - from - 1.0,
                    event.fault.name()
                );
            }
            for value in [0.0, most / 2.0, most] {
                _ = writeln!(svg, r#"<path class="grid" d="M{LEFT} {:.1}h{WIDTH}"/>"#, y(value));
                _ = writeln!(
                    svg,
                    r#"<text x="{}" y="{:.1}" text-anchor="end">{value:.0}</text>"#,
                    LEFT - 6.0,
                    y(value) + 4.0
                );
            }
            _ = writeln!(svg, r#"<text class="title" x="{LEFT}" y="{}">{title}</text>"#, top - 8.0);
            let line: Vec<_> =
                points.iter().map(|(time, value)| format!("{:.1},{:.1}", x(*time), y(*value))).collect();
            _ = writeln!(svg, r#"<polyline class="line" points="{}"/>"#, line.join(" "));
            _ = writeln!(
                svg,
                r#"<text x="{}" y="{}" text-anchor="end">{end:.0} s</text>"#,
                LEFT + WIDTH,
                top + HEIGHT + 16.0
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}
