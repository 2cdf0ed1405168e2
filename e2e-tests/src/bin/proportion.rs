//! Plots the cost of an answer over the size of its review, for expensive reviews.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use e2e_tests::hostile::answering::answer;
use e2e_tests::hostile::shapes::shapes;
use peak_alloc::PeakAlloc;
use test_support::repository_root;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Measures time and peak memory of answers to expensive reviews of every size, and plots both.
///
/// The numbers are printed to standard output, one line for each kind of review and size.
#[derive(Parser)]
#[command(
    name = "proportion",
    after_help = "Example:\n  cargo run --release -p e2e-tests --no-default-features --bin proportion"
)]
struct Arguments {
    /// Path of the plot.
    #[arg(long, value_name = "FILE", default_value_os_t = repository_root().join("docs/images/proportion.svg"))]
    output: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proportion: {error:#}");
            ExitCode::from(2)
        }
    }
}

const SIZES: [usize; 9] =
    [1_500, 4_096, 16_384, 65_536, 262_144, 1_048_576, 2_097_152, 4_194_304, 7 * 1_048_576];
/// A kind of review that takes longer is not measured at larger sizes.
const TOO_LONG: Duration = Duration::from_secs(1);
/// How often each is measured; the shortest time counts.
const ROUNDS: usize = 5;

/// The cost of one review.
#[derive(Debug, Clone, Copy)]
struct Cost {
    bytes: usize,
    time: Duration,
    heap: usize,
}

/// A kind of review in several sizes.
struct Line {
    name: &'static str,
    costs: Vec<Cost>,
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut lines = Vec::new();
    for shape in shapes() {
        let mut costs = Vec::new();
        for size in SIZES {
            let cost = measure(&(shape.make)(size).body());
            println!(
                "{:<55} {:>9} bytes {:>12.3} ms {:>11} bytes of heap, {:.1} x",
                shape.name,
                cost.bytes,
                cost.time.as_secs_f64() * 1e3,
                cost.heap,
                ratio(cost)
            );
            costs.push(cost);
            if cost.time > TOO_LONG {
                break;
            }
        }
        lines.push(Line { name: shape.name, costs });
    }
    if let Some(folder) = arguments.output.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&arguments.output, plot(&lines))
        .with_context(|| format!("cannot write {}", arguments.output.display()))?;
    println!("{}", arguments.output.display());
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
fn ratio(cost: Cost) -> f64 {
    cost.heap as f64 / cost.bytes as f64
}

fn measure(body: &[u8]) -> Cost {
    let mut cost = Cost { bytes: body.len(), time: Duration::MAX, heap: 0 };
    for _ in 0..ROUNDS {
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let start = Instant::now();
        let answer = answer(body);
        cost.time = cost.time.min(start.elapsed());
        // The body was allocated before, and counts.
        cost.heap = ALLOCATOR.peak_usage().saturating_sub(before) + body.len();
        drop(answer);
        if cost.time > TOO_LONG {
            break;
        }
    }
    cost
}

/// A panel of the plot with two logarithmic axes.
struct Panel {
    title: &'static str,
    left: f64,
    /// Minimum and maximum value.
    range: (f64, f64),
    ticks: &'static [(f64, &'static str)],
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 360.0;
const TOP: f64 = 40.0;
const SIZE_RANGE: (f64, f64) = (1e3, 8e6);
const SIZE_TICKS: &[(f64, &str)] =
    &[(1e3, "1 KB"), (1e4, "10 KB"), (1e5, "100 KB"), (1e6, "1 MB"), (7.34e6, "7 MiB")];

impl Panel {
    fn x(&self, bytes: f64) -> f64 {
        self.left + WIDTH * share(bytes, SIZE_RANGE)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + HEIGHT * (1.0 - share(value, self.range))
    }

    fn frame(&self, svg: &mut String) {
        let (right, bottom) = (self.left + WIDTH, TOP + HEIGHT);
        // Writing to a String cannot fail, here and below.
        _ = writeln!(
            svg,
            r#"<text x="{}" y="{}" class="title">{}</text>"#,
            self.left,
            TOP - 14.0,
            self.title
        );
        for (bytes, label) in SIZE_TICKS {
            let x = self.x(*bytes);
            _ = writeln!(svg, r#"<path class="grid" d="M{x:.1} {TOP}V{bottom}"/>"#);
            _ = writeln!(
                svg,
                r#"<text x="{x:.1}" y="{}" text-anchor="middle">{label}</text>"#,
                bottom + 16.0
            );
        }
        for (value, label) in self.ticks {
            let y = self.y(*value);
            _ = writeln!(svg, r#"<path class="grid" d="M{} {y:.1}H{right}"/>"#, self.left);
            let x = self.left - 6.0;
            _ = writeln!(svg, r#"<text x="{x}" y="{:.1}" text-anchor="end">{label}</text>"#, y + 4.0);
        }
    }

    /// A line through points, clipped at the panel's edge.
    fn line(&self, svg: &mut String, class: &str, title: &str, points: impl Iterator<Item = (f64, f64)>) {
        let points: Vec<String> =
            points.map(|(bytes, value)| format!("{:.1},{:.1}", self.x(bytes), self.y(value))).collect();
        _ = writeln!(
            svg,
            r#"<polyline class="{class}" points="{}"><title>{title}</title></polyline>"#,
            points.join(" ")
        );
    }
}

/// Position of a value between the ends of a range, on a logarithmic scale.
fn share(value: f64, (least, greatest): (f64, f64)) -> f64 {
    ((value / least).ln() / (greatest / least).ln()).clamp(0.0, 1.0)
}

const STYLE: &str = "<style>text{font:12px sans-serif;fill:#333}.title{font-size:14px;font-weight:bold}\
    .grid{stroke:#ddd;fill:none}.kind{stroke:#3a76b0;fill:none;opacity:.45}.kind:hover{stroke:#000;opacity:1;stroke-width:3}\
    .bound{stroke:#c0392b;fill:none;stroke-width:2;stroke-dasharray:6 4}.note{fill:#c0392b}</style>";

#[allow(clippy::cast_precision_loss)]
fn plot(lines: &[Line]) -> String {
    let time = Panel {
        title: "Time of an answer, over the size of the review",
        left: 70.0,
        range: (1e-6, 10.0),
        ticks: &[
            (1e-6, "1 us"),
            (1e-5, "10 us"),
            (1e-4, "100 us"),
            (1e-3, "1 ms"),
            (1e-2, "10 ms"),
            (0.1, "100 ms"),
            (1.0, "1 s"),
            (10.0, "10 s"),
        ],
    };
    let heap = Panel {
        title: "Peak of the heap with the review, over its size",
        left: 70.0 + WIDTH + 90.0,
        range: (1e3, 4e9),
        ticks: &[
            (1e3, "1 KB"),
            (1e4, "10 KB"),
            (1e5, "100 KB"),
            (1e6, "1 MB"),
            (1e7, "10 MB"),
            (1e8, "100 MB"),
            (1e9, "1 GB"),
        ],
    };
    let (width, height) = (heap.left + WIDTH + 20.0, TOP + HEIGHT + 76.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\">{STYLE}\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for panel in [&time, &heap] {
        panel.frame(&mut svg);
    }
    for Line { name, costs } in lines {
        let name = name.replace('&', "&amp;").replace('<', "&lt;");
        time.line(&mut svg, "kind", &name, costs.iter().map(|it| (it.bytes as f64, it.time.as_secs_f64())));
        heap.line(&mut svg, "kind", &name, costs.iter().map(|it| (it.bytes as f64, it.heap as f64)));
    }
    // The memory bound that the tests check; for time, only the slope is shown, here 50 ms for the largest.
    let sizes =
        || (0..=60).map(|step| SIZE_RANGE.0 * (SIZE_RANGE.1 / SIZE_RANGE.0).powf(f64::from(step) / 60.0));
    time.line(&mut svg, "bound", "linear", sizes().map(|bytes| (bytes, bytes * 0.05 / 7.34e6)));
    heap.line(&mut svg, "bound", "bound", sizes().map(|bytes| (bytes, 5.0 * bytes + 1_048_576.0)));
    let y = TOP + HEIGHT + 40.0;
    for (panel, note) in
        [(&time, "dashed: linear, 50 ms at 7 MiB"), (&heap, "dashed: 5 times the review and 1 MiB")]
    {
        _ = writeln!(svg, r#"<text x="{}" y="{y}" class="note">{note}</text>"#, panel.left);
    }
    let kinds = format!("{} kinds of reviews that are made to be expensive, a line each", lines.len());
    _ = writeln!(svg, r#"<text x="{}" y="{}">{kinds}</text>"#, time.left, y + 18.0);
    svg.push_str("</svg>\n");
    svg
}
