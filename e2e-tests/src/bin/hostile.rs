//! Attacks the released webhook with as much memory as its container has, and the policy.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use e2e_tests::hostile::memory_group::MemoryGroup;
use e2e_tests::hostile::process::Program;
use e2e_tests::hostile::report::{Row, head};
use e2e_tests::hostile::{Arena, Attack, attacks, policy, raise_file_limit};
use test_support::repository_root;

/// Attacks the webhook and the policy, and reports whether each attack was withstood.
///
/// Each attack runs against its own webhook, in a control group with as much memory as its container has. Meanwhile,
/// two callers send ordinary reviews, which must be answered within 2 s, and health probes must be answered within 1 s.
/// Exits with 1 if an attack was not withstood.
#[derive(Parser)]
#[command(
    name = "hostile",
    after_help = "Columns:
  s             how long it took, with the start of the process
  alive         whether the process has outlived the attack
  bystander     worst time of an answer to the caller that keeps its connection, and to the one with new connections;
                how often the kept one had to be opened again
  probe         worst time of an answer of /livez or /readyz
  MiB           peak of the group (with files that the kernel could forget), of the process, and in buffers of sockets
  killed        whether the kernel killed it for its memory
What was wrong follows with a dash, other remarks with a dot.

Examples:
  hostile --webhook dist/amd64/azwi-webhook
  hostile --webhook dist/amd64/azwi-webhook --only 'connections: ' --seconds 10
  hostile --webhook dist/amd64/azwi-webhook --only idle -- --max-connections 128
  hostile --only policy"
)]
struct Arguments {
    /// The webhook; `make dist` builds it. Without it, only the policy is attacked.
    #[arg(long, value_name = "FILE")]
    webhook: Option<PathBuf>,
    /// The policy module; `make policy.wasm` builds it.
    #[arg(long, value_name = "FILE", default_value_os_t = repository_root().join("policy.wasm"))]
    policy: PathBuf,
    /// Run only attacks whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Duration in seconds of attacks without an end of their own.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Memory of the webhook in MiB; defaults to the chart's limit.
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    memory: u64,
    /// Print the names of the attacks.
    #[arg(long)]
    list: bool,
    /// Extra flags for the webhook.
    #[arg(last = true, value_name = "FLAG")]
    flags: Vec<String>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("hostile: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Number of attacks by result.
#[derive(Debug, Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Count {
    fn add(&mut self, row: &Row) {
        println!("{row}");
        if row.is_withstood() {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }
}

/// How often an attack is run at most, where the machine may be the cause of what was seen.
const MOST_RUNS: usize = 4;

/// Runs an attack, and repeats it if someone was not served and the machine may be the cause: attackers and bystanders share
/// its processors, and a bystander that sends late looks like one that sends nothing. The earlier results are reported too.
fn run_again_in_doubt(arena: &Arena, attack: &Attack) -> Row {
    let mut row = arena.run(attack);
    for run in 1..MOST_RUNS {
        if row.is_withstood() || !row.may_be_the_machines_fault() {
            break;
        }
        let mut next = arena.run(attack);
        let seen = row.findings.defects.iter().map(|defect| format!("run again, run {run}: {defect}"));
        next.findings
            .notes
            .extend(row.findings.notes.iter().filter(|note| note.starts_with("run again")).cloned());
        next.findings.notes.extend(seen);
        row = next;
    }
    row
}

fn run(arguments: Arguments) -> Result<bool> {
    let is_wanted = |name: &str| name.contains(&arguments.only);
    let webhook_attacks: Vec<_> = attacks().into_iter().filter(|attack| is_wanted(&attack.name)).collect();
    let policy_attacks: Vec<_> =
        policy::attacks().into_iter().filter(|attack| is_wanted(&attack.name)).collect();
    if arguments.list {
        for name in webhook_attacks.iter().map(|it| &it.name).chain(policy_attacks.iter().map(|it| &it.name))
        {
            println!("{name}");
        }
        return Ok(true);
    }
    if webhook_attacks.is_empty() && policy_attacks.is_empty() {
        bail!("no attack has a name with {:?} in it; --list prints them", arguments.only);
    }
    let (start, mut count) = (Instant::now(), Count::default());
    println!("{}", head());
    if let Some(path) = arguments.webhook {
        ensure!(path.exists(), "{} does not exist; `make dist` builds it", path.display());
        raise_file_limit();
        let program = Program {
            path: path.canonicalize()?,
            flags: arguments.flags,
            memory: arguments.memory * 1024 * 1024,
        };
        if let Err(why) = MemoryGroup::new(program.memory) {
            println!("SKIPPED hostile: the webhook's memory cannot be limited: {why:#}");
            count.skipped += webhook_attacks.len();
        } else {
            let arena = Arena::new(program, Duration::from_secs(arguments.seconds))?;
            for attack in &webhook_attacks {
                count.add(&run_again_in_doubt(&arena, attack));
            }
        }
    }
    if !policy_attacks.is_empty() {
        let policy = policy::Policy::load(&arguments.policy)?;
        for attack in &policy_attacks {
            count.add(&policy.run(attack));
        }
    }
    println!("{} s", start.elapsed().as_secs());
    let skipped = if count.skipped > 0 { format!(", {} skipped", count.skipped) } else { String::new() };
    println!("{} passed, {} failed{skipped}", count.passed, count.failed);
    Ok(count.failed == 0)
}
