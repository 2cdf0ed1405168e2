//! Decides from the API server's version whether the proxy can be a native sidecar.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tracing::info;

use crate::reviewer::Reviewer;

/// How often to read the API server's version.
const VERSION_INTERVAL: Duration = Duration::from_mins(10);
/// How soon to retry if it did not answer.
const VERSION_RETRY: Duration = Duration::from_secs(5);
/// Timeout of the version request.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// First minor version of Kubernetes 1 with native sidecars on by default, as in upstream.
const NATIVE_SIDECAR_SINCE_MINOR: u32 = 32;

/// Keeps the native sidecar decision up to date with the API server, which may be upgraded while this process runs.
pub(crate) async fn follow_version(client: Client, reviewer: Arc<Reviewer>) {
    loop {
        let answered = has_native_sidecars(&client).await;
        if let Some(native) = answered {
            let config = reviewer.config.load();
            let followed = azwi_mutation::Config::clone(&config).with_native_sidecar(native);
            if followed != **config {
                info!(native_sidecar = native, "the API server's version decides about sidecars");
                reviewer.config.store(Arc::new(followed));
            }
        }
        tokio::time::sleep(if answered.is_some() { VERSION_INTERVAL } else { VERSION_RETRY }).await;
    }
}

/// Whether the API server is new enough for native sidecars; `None` if it does not say.
async fn has_native_sidecars(client: &Client) -> Option<bool> {
    let version = tokio::time::timeout(VERSION_TIMEOUT, client.apiserver_version()).await.ok()?.ok()?;
    is_native_sidecar_version(&version.major, &version.minor)
}

/// Minor versions may have a suffix, such as `31+`.
fn is_native_sidecar_version(major: &str, minor: &str) -> Option<bool> {
    let number = |text: &str| -> Option<u32> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).map_or(text, |end| &text[..end]);
        digits.parse().ok()
    };
    let (major, minor) = (number(major)?, number(minor)?);
    Some((major, minor) >= (1, NATIVE_SIDECAR_SINCE_MINOR))
}

#[cfg(test)]
mod tests {
    use super::is_native_sidecar_version;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(is_native_sidecar_version("1", "32"), Some(true));
        assert_eq!(is_native_sidecar_version("1", "35+"), Some(true));
        assert_eq!(is_native_sidecar_version("1", "9"), Some(false));
        assert_eq!(is_native_sidecar_version("2", "0"), Some(true));
        assert_eq!(is_native_sidecar_version("1", ""), None);
    }
}
