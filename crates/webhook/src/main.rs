//! Entry point of `azwi-webhook`.

use std::process::ExitCode;

fn main() -> ExitCode {
    azwi_webhook::cli::run(std::env::args_os())
}
