//! Logs: JSON lines on standard error.

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

    fn filter(self) -> &'static str {
        match self {
            Self::Info => "warn,azwi_webhook=info",
            Self::Debug => "info,azwi_webhook=debug",
            Self::Trace => "info,azwi_webhook=trace",
            Self::All => "trace",
        }
    }
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
