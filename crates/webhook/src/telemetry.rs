//! Logs: JSON lines on standard error.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Log level. The names are upstream's; `""` and `info` mean the same here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Messages that an operator needs.
    Info,
    /// One line per request.
    Debug,
    /// All messages of this program.
    Trace,
    /// All messages of all libraries too.
    All,
}

impl LogLevel {
    /// Parses upstream's `--log-level`.
    ///
    /// # Errors
    /// Upstream's error text.
    pub fn read(word: &str) -> Result<Self, String> {
        match word {
            "" | "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            "all" => Ok(Self::All),
            _ => Err("invalid log level, valid choices are the empty string, info, debug, trace and all"
                .to_owned()),
        }
    }

    /// The API server client logs whole answers that it cannot parse, possibly including a Secret, so it is always
    /// silenced.
    fn filter(self) -> &'static str {
        match self {
            Self::Info => "warn,azwi_webhook=info,kube_client::client=off",
            Self::Debug => "info,azwi_webhook=debug,kube_client::client=off",
            Self::Trace => "info,azwi_webhook=trace,kube_client::client=off",
            Self::All => "trace,kube_client::client=off",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
            Self::All => "all",
        })
    }
}

/// Limits the number of lines of one kind per period, so that callers cannot fill the log.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Period>);

#[derive(Debug, Default)]
struct Period {
    started: Option<Instant>,
    lines: u32,
    unlogged: u64,
}

impl Throttle {
    const PERIOD: Duration = Duration::from_secs(1);
    const LINES: u32 = 10;

    /// Returns the number of lines omitted since the last one if there is room for a line.
    pub fn next(&self) -> Option<u64> {
        self.next_at(Instant::now())
    }

    fn next_at(&self, now: Instant) -> Option<u64> {
        let mut period = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if period.started.is_none_or(|started| now.duration_since(started) >= Self::PERIOD) {
            (period.started, period.lines) = (Some(now), 0);
        }
        if period.lines == Self::LINES {
            period.unlogged += 1;
            return None;
        }
        period.lines += 1;
        Some(std::mem::take(&mut period.unlogged))
    }
}

/// Logs panics like any other line.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(message, place, "panic");
    }));
}

/// Changes the log level while the process runs: an incident is no time for a rollout.
#[derive(Clone)]
pub struct LogControl {
    level: Arc<Mutex<LogLevel>>,
    reload: Arc<dyn Fn(EnvFilter) -> bool + Send + Sync>,
}

impl LogControl {
    /// The level that is in force.
    pub fn level(&self) -> LogLevel {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a level in force; false if the logger is gone.
    pub fn set(&self, level: LogLevel) -> bool {
        let is_set = (self.reload)(EnvFilter::new(level.filter()));
        if is_set {
            *self.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
        }
        is_set
    }
}

/// Starts logging; a second call has no effect.
pub fn start(level: LogLevel) -> LogControl {
    let builder = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(EnvFilter::new(level.filter()))
        .with_writer(std::io::stderr)
        // It would report them where they come from, and panic because that fails too.
        .log_internal_errors(false)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    // Tests start several servers in one process; the first one's logger serves all of them.
    _ = builder.finish().try_init();
    LogControl {
        level: Arc::new(Mutex::new(level)),
        reload: Arc::new(move |filter| handle.reload(filter).is_ok()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{LogLevel, Throttle};

    #[test]
    fn a_second_has_ten_lines_and_the_next_tells_what_was_left_out() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let lines: Vec<_> = (0..13).filter_map(|_| throttle.next_at(start)).collect();
        assert_eq!(lines, [0; 10]);
        assert_eq!(throttle.next_at(start + Duration::from_millis(999)), None);
        assert_eq!(throttle.next_at(start + Duration::from_secs(1)), Some(4));
        assert_eq!(throttle.next_at(start + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn no_level_lets_the_client_log_what_the_api_server_sent() {
        for level in [LogLevel::Info, LogLevel::Debug, LogLevel::Trace, LogLevel::All] {
            assert!(level.filter().ends_with("kube_client::client=off"), "{level:?}");
        }
    }
}
