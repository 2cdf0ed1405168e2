//! Certificates in files, read anew when their content changes: `tls.crt` and `tls.key`, and the authorities of callers.
//!
//! By content, not by notification: the kubelet swaps a symbolic link, after which a watched file never changes again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{CertificateError, CertificateStore, ClientVerifier, ServingCertificate};
use crate::metrics::Metrics;

/// The text of both files.
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

/// Keeps the certificate of `folder` in use until the task is dropped. A pair that cannot be used is logged and counted,
/// and the old one stays.
pub async fn keep_from_files(
    folder: PathBuf,
    store: Arc<CertificateStore>,
    metrics: Arc<Metrics>,
    check_every: Duration,
) {
    let mut known = None;
    let mut reports = Reports::new("serving certificate", &folder, &metrics);
    loop {
        let loaded = load(&folder, &mut known).await;
        reports.note(loaded.map(|found| {
            found.map(|certificate| {
                metrics.certificate_not_after.set(certificate.not_after);
                store.set(certificate);
            })
        }));
        tokio::time::sleep(check_every).await;
    }
}

/// Keeps up with the file that names the authorities of callers, until the task is dropped. A file that cannot be used
/// is logged and counted, and the authorities stay.
pub async fn keep_client_authorities(
    verifier: Arc<ClientVerifier>,
    metrics: Arc<Metrics>,
    check_every: Duration,
) {
    let mut reports = Reports::new("client CA", verifier.file(), &metrics);
    loop {
        reports.note(verifier.reload().await);
        tokio::time::sleep(check_every).await;
    }
}

/// Tells what came of looking at a file.
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

    /// Takes note of something new in use, of nothing new, or of a problem: once per problem, because the same file is
    /// looked at every few seconds.
    fn note(&mut self, loaded: Result<Option<()>, CertificateError>) {
        let (what, path) = (self.what, self.path.display());
        match loaded {
            Ok(None) => {}
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

/// The certificate, if it is another than the known one.
async fn load(
    folder: &Path,
    known: &mut Option<Files>,
) -> Result<Option<ServingCertificate>, CertificateError> {
    let files = Files::read(folder).await?;
    if known.as_ref() == Some(&files) {
        return Ok(None);
    }
    // Between two writes the files may not belong together; the next look finds them whole.
    let certificate = ServingCertificate::from_pem(&files.chain, &files.key)?;
    *known = Some(files);
    Ok(Some(certificate))
}
