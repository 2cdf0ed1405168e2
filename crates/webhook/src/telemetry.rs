//! Logs: JSON lines on standard error.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How much is logged. The words are upstream's; `""` and `info` mean the same here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// What an operator has to know.
    Info,
    /// One line per request.
    Debug,
    /// Everything of this program.
    Trace,
    /// Everything of every library too.
    All,
}

impl LogLevel {
    /// Reads upstream's `--log-level`.
    ///
    /// # Errors
    /// Upstream's sentence.
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

    /// The client of the API server logs whole answers that it does not understand, and a Secret may be among them, so it
    /// never gets a word.
    fn filter(self) -> &'static str {
        match self {
            Self::Info => "warn,azwi_webhook=info,kube_client::client=off",
            Self::Debug => "info,azwi_webhook=debug,kube_client::client=off",
            Self::Trace => "info,azwi_webhook=trace,kube_client::client=off",
            Self::All => "trace,kube_client::client=off",
        }
    }
}

/// Lines of one kind in each period, and no more: whoever causes them must not be able to fill the log.
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

    /// Whether there is room for a line, and if so, how many lines were left out since the last one.
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

/// Lets a panic be a line of the log like any other.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(message, place, "panic");
    }));
}

/// Starts logging; a second call changes nothing.
pub fn start(level: LogLevel) {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(EnvFilter::new(level.filter()))
        .with_writer(std::io::stderr)
        .finish();
    // Tests start several servers in one process; the first one's logger serves them all.
    _ = subscriber.try_init();
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
