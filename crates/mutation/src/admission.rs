//! From an admission request to a verdict, in two steps with the service account lookup between them.
//!
//! The core does no I/O. [`admit`] either returns the verdict or names the service account it needs; the host reads it,
//! and [`PendingAdmission::resume`] finishes.

use std::borrow::Cow;

use azwi_json::printable;

use crate::config::{Config, OptIn, is_dns_label, is_dns_subdomain};
use crate::denial::Denial;
use crate::plan::advice::MOST_WARNINGS;
use crate::plan::token_expiration;
use crate::plan::{Mutation, NamedServiceAccount, advice, plan};
use crate::view::{AdmissionRequest, PodHead, ServiceAccount, ServiceAccountLookup, Workload};
use crate::warning::Warning;

/// The host's answer: the pod is admitted with a possibly empty mutation, or denied.
pub type Verdict = Result<Mutation, Denial>;

/// Result of the first step.
#[derive(Debug)]
// One is made per request and destructured at once; a box would only cost an allocation.
#[allow(clippy::large_enum_variant)]
pub enum Admission<'a> {
    /// The verdict needs no service account.
    Decided(Verdict),
    /// The verdict depends on a service account.
    Pending(PendingAdmission<'a>),
}

/// A request whose verdict depends on a service account.
#[derive(Debug)]
pub struct PendingAdmission<'a> {
    namespace: Cow<'a, str>,
    pod: PodHead<'a>,
    /// The object that contains the pod template, unless the request is for a pod.
    workload: Option<Workload<'a>>,
    config: &'a Config,
}

/// Decides on a request, or names the service account to read first.
///
/// Only pod creations are mutated. Workload objects get the warnings that their pods would get. Everything else is
/// admitted unchanged.
pub fn admit<'a>(request: &AdmissionRequest<'a>, config: &'a Config) -> Admission<'a> {
    if request.is_about_pods() {
        return if request.is_create() { admit_pod(request, config) } else { untouched(Vec::new()) };
    }
    if !request.is_create() && !request.is_update() {
        return untouched(Vec::new());
    }
    match Workload::of(request) {
        Some(workload) => admit_workload(request, workload, config),
        None => untouched(Vec::new()),
    }
}

fn untouched<'a>(warnings: Vec<Warning>) -> Admission<'a> {
    Admission::Decided(Ok(Mutation { warnings, ..Mutation::default() }))
}

fn admit_pod<'a>(request: &AdmissionRequest<'a>, config: &'a Config) -> Admission<'a> {
    let Some(object) = request.object else {
        return Admission::Decided(Err(Denial::invalid("there is no content to decode")));
    };
    let kind = object.get("kind").and_then(|kind| kind.short_text().ok()).unwrap_or_default();
    if !matches!(&*kind, "" | "Pod") {
        let version =
            object.get("apiVersion").and_then(|version| version.short_text().ok()).unwrap_or_default();
        let (version, kind) = (printable(&version, 100), printable(&kind, 100));
        let message = format!("unable to decode {version}, Kind={kind} into *v1.Pod");
        return Admission::Decided(Err(Denial::invalid(message)));
    }
    match PodHead::read(object, "pod") {
        Ok(pod) if pod.is_mirror() => untouched(Vec::new()),
        Ok(pod) if can_opt_in(&pod, config.opt_in) => {
            let namespace = request.namespace.clone();
            PendingAdmission { namespace, pod, workload: None, config }.check_names()
        }
        Ok(pod) => {
            let subject = pod_subject(&pod);
            let mut warnings = advice::of_pod(&pod, &subject, &request.namespace, config);
            advice::of_missed_label(&pod, &subject, config.opt_in, &mut warnings);
            untouched(warnings)
        }
        Err(denial) => Admission::Decided(Err(denial)),
    }
}

fn admit_workload<'a>(
    request: &AdmissionRequest<'a>,
    workload: Workload<'a>,
    config: &'a Config,
) -> Admission<'a> {
    let pod = match PodHead::read(workload.template, workload.template_path) {
        Ok(pod) => pod,
        Err(denial) => {
            return untouched(vec![Warning::pods_would_be_denied(&workload.pods, &denial.message)]);
        }
    };
    if pod.is_mirror() {
        return untouched(Vec::new());
    }
    if can_opt_in(&pod, config.opt_in) {
        let namespace = request.namespace.clone();
        return PendingAdmission { namespace, pod, workload: Some(workload), config }.check_names();
    }
    let mut warnings = advice::of_pod(&pod, &workload.pods, &request.namespace, config);
    advice::of_missed_label(&pod, &workload.pods, config.opt_in, &mut warnings);
    advice::of_workload(&workload, &pod, false, &request.namespace, config, &mut warnings);
    untouched(warnings)
}

/// The pod's name in a message.
fn pod_subject(pod: &PodHead<'_>) -> String {
    format!("pod {}", pod.display_name(63))
}

/// Whether the pod is opted in regardless of its service account: such a pod is denied if the account cannot be read.
fn is_opted_in_by_itself(pod: &PodHead<'_>, opt_in: OptIn) -> bool {
    opt_in == OptIn::All || (opt_in.reads_pod_label() && pod.is_labelled())
}

/// Whether the pod may be opted in by its service account, which must then be read.
fn can_opt_in(pod: &PodHead<'_>, opt_in: OptIn) -> bool {
    is_opted_in_by_itself(pod, opt_in) || matches!(opt_in, OptIn::ServiceAccount | OptIn::PodOrServiceAccount)
}

impl Admission<'_> {
    /// Returns the verdict, for a host that reads synchronously. `lookup` reads a service account by namespace and
    /// name.
    ///
    /// # Errors
    /// See [`PendingAdmission::resume`].
    pub fn finish(self, lookup: impl FnOnce(&str, &str) -> ServiceAccountLookup) -> Verdict {
        match self {
            Self::Decided(verdict) => verdict,
            Self::Pending(pending) => {
                let found = lookup(pending.namespace(), pending.service_account_name());
                pending.resume(found)
            }
        }
    }
}

impl<'a> PendingAdmission<'a> {
    /// Names that are invalid for a service account are not looked up, because hosts build paths or queries from them.
    fn check_names(self) -> Admission<'a> {
        if !is_dns_label(&self.namespace) {
            let problem = ServiceAccountLookup::Failed("the namespace is no DNS label".to_owned());
            let verdict = self.resume(problem);
            return Admission::Decided(verdict.map_err(|denial| Denial { code: 400, ..denial }));
        }
        if !is_dns_subdomain(self.service_account_name()) {
            return Admission::Decided(self.resume(ServiceAccountLookup::Missing));
        }
        Admission::Pending(self)
    }

    /// Namespace of the service account to read.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Name of the service account to read.
    pub fn service_account_name(&self) -> &str {
        self.pod.service_account_name()
    }

    /// Memory used besides the request's text and its index, in bytes.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.pod.heap_bytes()
    }

    /// Whether the cached account may be outdated: a labelled pod would be denied, or start without its identity. A host with
    /// a cache reads the account again first.
    pub fn is_doubtful(&self, account: &ServiceAccount) -> bool {
        let is_opted_in = || is_opted_in_by_itself(&self.pod, self.config.opt_in) || account.is_opted_in();
        let has_bad_expiration = || token_expiration(None, account.token_expiration.as_deref(), 0).is_err();
        self.pod.is_labelled()
            && (account.client_id().is_empty()
                || !is_opted_in()
                || has_bad_expiration()
                || account.too_long_annotation().is_some())
    }

    /// Finishes with the result of the lookup.
    ///
    /// # Errors
    /// The pod is opted in and cannot be mutated: its service account is missing or unreadable, or requests an
    /// unsupported configuration.
    pub fn resume(&self, lookup: ServiceAccountLookup) -> Verdict {
        let subject = match &self.workload {
            Some(workload) => workload.pods.clone(),
            None => pod_subject(&self.pod),
        };
        let opt_in = self.config.opt_in;
        let mut warnings = advice::of_pod(&self.pod, &subject, &self.namespace, self.config);
        let is_opted_in = is_opted_in_by_itself(&self.pod, opt_in)
            || matches!(&lookup, ServiceAccountLookup::Found(account) if account.is_opted_in());
        let verdict = if is_opted_in {
            self.plan(lookup, &subject)
        } else {
            advice::of_missed_opt_in(
                &self.pod,
                &subject,
                &self.namespace,
                &lookup,
                self.config,
                &mut warnings,
            );
            Ok(Mutation::default())
        };
        let Some(workload) = &self.workload else {
            let mutation = verdict?;
            warnings.extend(mutation.warnings);
            warnings.truncate(MOST_WARNINGS);
            return Ok(Mutation { warnings, ..mutation });
        };
        // The object itself is unchanged and never denied: its pods will be, and this is the time to tell their author.
        match verdict {
            Ok(mutation) => warnings.extend(mutation.warnings),
            Err(denial) => warnings.push(Warning::pods_would_be_denied(&subject, &denial.message)),
        }
        advice::of_workload(workload, &self.pod, is_opted_in, &self.namespace, self.config, &mut warnings);
        warnings.truncate(MOST_WARNINGS);
        Ok(Mutation { warnings, ..Mutation::default() })
    }

    fn plan(&self, lookup: ServiceAccountLookup, subject: &str) -> Verdict {
        let (namespace, name) = (&*self.namespace, self.service_account_name());
        match lookup {
            ServiceAccountLookup::Found(account) => {
                let identity = NamedServiceAccount { namespace, name, account: &account };
                plan(&self.pod, subject, identity, self.config)
            }
            ServiceAccountLookup::Missing => Err(Denial::service_account_not_found(name)),
            ServiceAccountLookup::Failed(reason) => {
                Err(Denial::service_account_unreadable(namespace, name, &reason))
            }
        }
    }
}
