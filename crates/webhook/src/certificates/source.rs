//! The source of certificates, and the flags for it.

// Argument comments become help texts, where backticks would be printed.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::authority::Lifetimes;
use super::self_managed::SelfManaged;
use crate::arguments::{interval, life};

/// Checks of the certificates that callers must present.
#[derive(Debug)]
pub struct CallerChecks {
    /// File with their authorities, in PEM.
    pub ca_file: PathBuf,
    /// Common names or DNS names that may call; empty for all.
    pub allowed_names: Vec<String>,
    /// How often to check the file.
    pub check_every: Duration,
}

#[derive(Debug)]
pub enum CertificateSource {
    /// `tls.crt` and `tls.key` in a folder, checked at this interval.
    Files(PathBuf, Duration),
    /// The webhook's own authority.
    SelfManaged(SelfManaged),
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Certificates")]
pub(crate) struct CertificateArguments {
    /// Use tls.crt and tls.key from --webhook-cert-dir; otherwise the webhook makes its own certificates.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
        action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) disable_cert_rotation: bool,
    /// Folder with tls.crt and tls.key, read again when their content changes.
    #[arg(long, value_name = "DIR", default_value = "/certs")]
    webhook_cert_dir: PathBuf,
    /// PEM file with the authorities of callers; if set, the API server must present a certificate. Read again when its
    /// content changes.
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Common name or DNS name that a caller's certificate must have; can be repeated or a comma-separated list; needs
    /// --client-ca-file [default: any].
    #[arg(long, value_name = "NAME", requires = "client_ca_file", value_delimiter = ',')]
    client_allowed_name: Vec<String>,
    /// How often to check the files, the Secret and the caBundle.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval)]
    cert_check_interval: Duration,
    /// Secret in the webhook's namespace that holds its certificate authority. The chart creates an empty one.
    #[arg(long, value_name = "NAME", default_value = "azure-wi-webhook-ca")]
    ca_secret: String,
    /// MutatingWebhookConfiguration whose caBundle is kept correct.
    #[arg(long, value_name = "NAME", default_value = "azure-wi-webhook-mutating-webhook-configuration")]
    webhook_configuration: String,
    /// Service through which the API server calls.
    #[arg(long, value_name = "NAME", default_value = "azure-wi-webhook-webhook-service")]
    service_name: String,
    /// Lifetime of the certificate authority; a new one is made after two thirds of it.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = life)]
    ca_life: Duration,
    /// How long a new certificate authority is trusted before it signs.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = life)]
    ca_overlap: Duration,
    /// Lifetime of a replica's certificate; a new one is made after two thirds of it.
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = life)]
    leaf_life: Duration,
}

impl CertificateArguments {
    /// A successor must be in use before its predecessor expires.
    pub(crate) fn check_lifetimes(&self) -> Result<()> {
        if self.disable_cert_rotation {
            return Ok(());
        }
        let (interval, overlap) = (self.cert_check_interval, self.ca_overlap);
        let (authority, leaf) = (self.ca_life, self.leaf_life);
        if overlap >= authority / 3 {
            bail!(
                "--ca-overlap {overlap:?} must be shorter than a third of --ca-life {authority:?}, when the next authority \
                 is made"
            );
        }
        if interval + overlap >= authority / 3 {
            bail!(
                "--cert-check-interval {interval:?} must be shorter than a third of --ca-life {authority:?} less \
                 --ca-overlap {overlap:?}, when the next authority is to sign"
            );
        }
        if interval >= leaf / 3 {
            bail!(
                "--cert-check-interval {interval:?} must be shorter than a third of --leaf-life {leaf:?}, when the next \
                 certificate is made"
            );
        }
        Ok(())
    }

    pub(crate) fn caller_checks(&self) -> Option<CallerChecks> {
        self.client_ca_file.clone().map(|ca_file| CallerChecks {
            ca_file,
            allowed_names: self.client_allowed_name.clone(),
            check_every: self.cert_check_interval,
        })
    }

    pub(crate) fn source(self, namespace: String) -> CertificateSource {
        if self.disable_cert_rotation {
            return CertificateSource::Files(self.webhook_cert_dir, self.cert_check_interval);
        }
        let service = format!("{}.{namespace}", self.service_name);
        CertificateSource::SelfManaged(SelfManaged {
            dns_names: vec![format!("{service}.svc"), format!("{service}.svc.cluster.local"), service],
            namespace,
            secret: self.ca_secret,
            webhook_configuration: self.webhook_configuration,
            lives: Lifetimes { authority: self.ca_life, leaf: self.leaf_life, overlap: self.ca_overlap },
            check_every: self.cert_check_interval,
        })
    }
}
