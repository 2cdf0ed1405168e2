use std::process::ExitCode;

#[cfg(target_env = "musl")]
use musl_memcpy as _;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    azwi_webhook::cli::run(std::env::args_os())
}
