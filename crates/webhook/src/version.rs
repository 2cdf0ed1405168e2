//! Build information.

use serde::Serialize;

/// The program's version; the other fields come from the release build's environment.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInfo {
    /// Version of the release.
    pub build_version: &'static str,
    /// Commit that was built, empty outside a release.
    pub git_commit: &'static str,
    /// Build date, empty outside a release.
    pub build_date: &'static str,
    /// Operating system and architecture.
    pub platform: &'static str,
}

pub const BUILD: BuildInfo = BuildInfo {
    build_version: concat!("v", env!("CARGO_PKG_VERSION")),
    git_commit: match option_env!("AZWI_GIT_COMMIT") {
        Some(commit) => commit,
        None => "",
    },
    build_date: match option_env!("AZWI_BUILD_DATE") {
        Some(date) => date,
        None => "",
    },
    platform: if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" },
};
