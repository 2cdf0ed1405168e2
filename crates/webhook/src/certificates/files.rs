//! `tls.crt` and `tls.key` in a folder, read anew when their content changes.
//!
//! By content, not by notification: the kubelet swaps a symbolic link, after which a watched file never changes again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{CertificateError, CertificateStore, ServingCertificate};
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
    let mut last_problem = String::new();
    loop {
        match load(&folder, &mut known).await {
            Ok(None) => {}
            Ok(Some(certificate)) => {
                info!(folder = %folder.display(), not_after = certificate.not_after, "serving certificate in use");
                metrics.certificate_not_after.set(certificate.not_after);
                metrics.reloaded("success");
                store.set(certificate);
                last_problem.clear();
            }
            Err(error) => {
                let problem = error.to_string();
                // Once per problem: the same file is looked at every few seconds.
                if problem != last_problem {
                    warn!(folder = %folder.display(), error = %problem, "serving certificate not usable");
                    metrics.reloaded("failure");
                    last_problem = problem;
                }
            }
        }
        tokio::time::sleep(check_every).await;
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
