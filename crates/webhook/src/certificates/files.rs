//! Certificates in files, read again when their content changes: `tls.crt` and `tls.key`, and the authorities of
//! callers.
//!
//! Changes are detected by content, not by file notification: the kubelet swaps a symbolic link, after which a watched
//! file never changes again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tracing::{info, warn};

use super::certificate::rfc_3339;
use super::{CallerVerifier, CertificateError, CertificateStore, ServingCertificate};
use crate::metrics::Metrics;

#[derive(PartialEq)]
struct Files {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    async fn read(folder: &Path) -> Result<Self, CertificateError> {
        let read = async |name: &str| {
            let path = folder.join(name);
            let content = tokio::fs::read(&path).await;
            content
                .map_err(|source| CertificateError::Unreadable { path: path.display().to_string(), source })
        };
        Ok(Self { chain: read("tls.crt").await?, key: read("tls.key").await? })
    }
}

/// Keeps the certificate of `folder` in use until the task is dropped. A new pair that is unusable,
/// or not valid now although the old one is, is logged and counted, and the old one stays.
pub async fn keep_from_files(
    folder: PathBuf,
    store: Arc<CertificateStore>,
    metrics: Arc<Metrics>,
    check_every: Duration,
) {
    let mut known = None;
    let mut reports = Reports::new("serving certificate", &folder, &metrics);
    loop {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let loaded = load(&folder, &mut known, store.is_valid_at(now), now).await;
        reports.note(loaded.map(|found| {
            found.map(|certificate| {
                if !certificate.is_valid_at(now) {
                    warn!(
                        not_before = rfc_3339(certificate.not_before),
                        not_after = rfc_3339(certificate.not_after),
                        "the serving certificate does not hold now; it is shown because there is no other"
                    );
                }
                store.set(certificate);
            })
        }));
        tokio::time::sleep(check_every).await;
    }
}

/// Follows the file with the authorities of callers until the task is dropped. An unusable file is logged and counted,
/// and the authorities stay.
pub async fn keep_caller_authorities(
    verifier: Arc<CallerVerifier>,
    metrics: Arc<Metrics>,
    check_every: Duration,
) {
    let mut reports = Reports::new("client CA", verifier.file(), &metrics);
    loop {
        reports.note(verifier.reload().await);
        tokio::time::sleep(check_every).await;
    }
}

/// Reports the result of each check of a file.
struct Reports<'a> {
    what: &'static str,
    path: &'a Path,
    metrics: &'a Metrics,
    last_problem: String,
}

impl<'a> Reports<'a> {
    fn new(what: &'static str, path: &'a Path, metrics: &'a Metrics) -> Self {
        Self { what, path, metrics, last_problem: String::new() }
    }

    /// Records a new version, no change, or a problem. Each problem is reported once, because the same file is checked
    /// every few seconds.
    fn note(&mut self, loaded: Result<Option<()>, CertificateError>) {
        let (what, path) = (self.what, self.path.display());
        match loaded {
            // The file is as it was before the problem.
            Ok(None) => self.last_problem.clear(),
            Ok(Some(())) => {
                info!(%path, "{what} in use");
                self.metrics.reloaded("success");
                self.last_problem.clear();
            }
            Err(error) => {
                let problem = error.to_string();
                if problem != self.last_problem {
                    warn!(%path, error = %problem, "{what} not usable");
                    self.metrics.reloaded("failure");
                    self.last_problem = problem;
                }
            }
        }
    }
}

/// Returns the certificate if it differs from the known one and may replace it.
async fn load(
    folder: &Path,
    known: &mut Option<Files>,
    is_known_valid: bool,
    now: i64,
) -> Result<Option<ServingCertificate>, CertificateError> {
    let files = Files::read(folder).await?;
    if known.as_ref() == Some(&files) {
        return Ok(None);
    }
    // Between two writes the files may not match; the next check finds them complete.
    let certificate = ServingCertificate::from_pem(&files.chain, &files.key)?;
    // If neither is valid, the newer one is used: a caller's clock may differ, and otherwise the caller reports the
    // problem. One that is not valid yet is checked again until it is.
    if is_known_valid && !certificate.is_valid_at(now) {
        return Err(certificate.not_now());
    }
    *known = Some(files);
    Ok(Some(certificate))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rcgen::{CertificateParams, KeyPair};
    use time::{Duration, OffsetDateTime};

    use super::{CertificateError, load};

    /// A temporary folder, removed when the test ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("azwi-webhook-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        /// Writes a pair that is valid from one hour to another.
        fn put(&self, from: i64, to: i64) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
            (params.not_before, params.not_after) = (at(from), at(to));
            std::fs::write(self.0.join("tls.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
            std::fs::write(self.0.join("tls.key"), key.serialize_pem()).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn at(hour: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap() + Duration::hours(hour)
    }

    #[tokio::test]
    async fn what_does_not_hold_now_takes_no_valid_pairs_place() {
        let folder = Folder::new("takes-no-place");
        let mut known = None;
        let now = at(0).unix_timestamp();
        folder.put(-1, 1);
        assert!(load(&folder.0, &mut known, false, now).await.unwrap().is_some());
        for (from, to) in [(1, 2), (-2, -1)] {
            folder.put(from, to);
            let refused = load(&folder.0, &mut known, true, now).await;
            assert!(matches!(refused, Err(CertificateError::NotNow { .. })), "{refused:?}");
        }
        folder.put(1, 3);
        let refused = load(&folder.0, &mut known, true, now).await;
        assert!(matches!(refused, Err(CertificateError::NotNow { .. })), "{refused:?}");
        let later = at(1).unix_timestamp();
        assert!(load(&folder.0, &mut known, true, later).await.unwrap().is_some(), "its time has come");
        assert!(load(&folder.0, &mut known, true, later).await.unwrap().is_none(), "it is known");
    }

    #[tokio::test]
    async fn without_a_valid_pair_any_is_taken() {
        let folder = Folder::new("takes-any");
        let now = at(0).unix_timestamp();
        for (from, to) in [(1, 2), (-2, -1)] {
            folder.put(from, to);
            assert!(load(&folder.0, &mut None, false, now).await.unwrap().is_some());
        }
    }
}
