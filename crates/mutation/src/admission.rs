//! From an admission request to an answer, in two steps with the service account lookup between them.
//!
//! The core does no I/O. [`admit`] either knows the answer or says which service account it needs; the host reads it
//! however it can, and [`PendingAdmission::answer`] finishes.

use std::borrow::Cow;

use crate::config::{Config, is_dns_label, is_dns_subdomain};
use crate::denial::Denial;
use crate::names::{CLIENT_ID_ANNOTATION, OPT_IN_LABEL, OPT_IN_VALUE};
use crate::plan::{Mutation, NamedServiceAccount, plan};
use crate::pod_view::PodHead;
use crate::request::AdmissionRequest;
use crate::service_account::ServiceAccountLookup;
use crate::settings::OptIn;
use crate::text::{object_name, printable};
use crate::warning::Warning;
use crate::workload::WorkloadView;

/// What a host answers: the pod is admitted with a mutation that may be empty, or it is denied.
pub type Answer = Result<Mutation, Denial>;

/// The first step's result.
#[derive(Debug)]
// One is made per request and taken apart at once; a box would only cost an allocation.
#[allow(clippy::large_enum_variant)]
pub enum Admission<'a> {
    /// The answer needs no service account.
    Answered(Answer),
    /// The answer depends on a service account.
    Pending(PendingAdmission<'a>),
}

/// A request whose answer depends on a service account.
#[derive(Debug)]
pub struct PendingAdmission<'a> {
    namespace: Cow<'a, str>,
    pod: PodHead<'a>,
    workload: Option<WorkloadView<'a>>,
    config: &'a Config,
}

/// Answers a request, or says which service account has to be read first.
///
/// Only the creation of pods is mutated. Workload objects get the warnings that their pods would get. Everything else
/// is admitted untouched.
#[must_use]
pub fn admit<'a>(request: &AdmissionRequest<'a>, config: &'a Config) -> Admission<'a> {
    if request.is_about_pods() {
        return if request.is_create() { admit_pod(request, config) } else { untouched(Vec::new()) };
    }
    if !request.is_create() && !request.is_update() {
        return untouched(Vec::new());
    }
    match WorkloadView::of(request) {
        Some(workload) => admit_workload(request, workload, config),
        None => untouched(Vec::new()),
    }
}

fn untouched<'a>(warnings: Vec<Warning>) -> Admission<'a> {
    Admission::Answered(Ok(Mutation { warnings, ..Mutation::default() }))
}

fn admit_pod<'a>(request: &AdmissionRequest<'a>, config: &'a Config) -> Admission<'a> {
    let Some(object) = request.object else {
        return Admission::Answered(Err(Denial::invalid("there is no content to decode")));
    };
    let kind = object.get("kind").and_then(|kind| kind.text().ok()).unwrap_or_default();
    if !matches!(&*kind, "" | "Pod") {
        let version = object.get("apiVersion").and_then(|version| version.text().ok()).unwrap_or_default();
        let (version, kind) = (printable(&version, 100), printable(&kind, 100));
        let message = format!("unable to decode {version}, Kind={kind} into *v1.Pod");
        return Admission::Answered(Err(Denial::invalid(message)));
    }
    match PodHead::read(object, "pod") {
        Ok(pod) if can_opt_in(&pod, config.opt_in) => {
            let namespace = request.namespace.clone();
            PendingAdmission { namespace, pod, workload: None, config }.or_answer()
        }
        Ok(pod) => {
            let subject = pod_subject(&pod);
            let mut warnings = warnings_of_pod(&pod, &subject);
            warn_of_missed_label(&pod, &subject, config.opt_in, &mut warnings);
            untouched(warnings)
        }
        Err(denial) => Admission::Answered(Err(denial)),
    }
}

fn admit_workload<'a>(
    request: &AdmissionRequest<'a>,
    workload: WorkloadView<'a>,
    config: &'a Config,
) -> Admission<'a> {
    let pod = match PodHead::read(workload.template, workload.template_path) {
        Ok(pod) => pod,
        Err(denial) => {
            return untouched(vec![Warning::pods_would_be_denied(&workload.pods, &denial.message)]);
        }
    };
    if can_opt_in(&pod, config.opt_in) {
        let namespace = request.namespace.clone();
        return PendingAdmission { namespace, pod, workload: Some(workload), config }.or_answer();
    }
    let mut warnings = warnings_of_pod(&pod, &workload.pods);
    warn_of_missed_label(&pod, &workload.pods, config.opt_in, &mut warnings);
    warn_of_workload_label(&workload, config.opt_in, &mut warnings);
    untouched(warnings)
}

/// The pod for a message.
fn pod_subject(pod: &PodHead<'_>) -> String {
    format!("pod {}", pod.display_name(63))
}

/// Whether the pod's label says "true".
fn is_labelled(pod: &PodHead<'_>) -> bool {
    pod.opt_in_label() == Some(OPT_IN_VALUE)
}

/// Whether the pod is opted in whatever its service account says: such a pod is denied when that cannot be read.
fn is_opted_in_by_itself(pod: &PodHead<'_>, opt_in: OptIn) -> bool {
    match opt_in {
        OptIn::All => true,
        OptIn::Pod | OptIn::PodOrServiceAccount => is_labelled(pod),
        OptIn::ServiceAccount => false,
    }
}

/// Whether the pod can turn out to be opted in, so that its service account has to be read.
fn can_opt_in(pod: &PodHead<'_>, opt_in: OptIn) -> bool {
    is_opted_in_by_itself(pod, opt_in) || matches!(opt_in, OptIn::ServiceAccount | OptIn::PodOrServiceAccount)
}

/// Whether the pod's own label counts.
fn reads_pod_label(opt_in: OptIn) -> bool {
    matches!(opt_in, OptIn::Pod | OptIn::PodOrServiceAccount)
}

/// Warnings that need nothing but the pod, whether it is opted in or not.
fn warnings_of_pod(pod: &PodHead<'_>, subject: &str) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if pod.annotation(CLIENT_ID_ANNOTATION).is_some() {
        warnings.push(Warning::client_id_on_pod(subject));
    }
    warnings
}

/// For a pod that is not opted in: signs that it was meant to be, by itself.
fn warn_of_missed_label(pod: &PodHead<'_>, subject: &str, opt_in: OptIn, warnings: &mut Vec<Warning>) {
    if !reads_pod_label(opt_in) {
        return;
    }
    if let Some(value) = pod.opt_in_label().filter(|value| *value != OPT_IN_VALUE) {
        warnings.push(Warning::label_value(subject, value));
    }
    if pod.annotation(OPT_IN_LABEL).is_some() {
        warnings.push(Warning::label_is_annotation(subject));
    }
}

/// For a workload object whose pods are not opted in: a sign that they were meant to be.
fn warn_of_workload_label(workload: &WorkloadView<'_>, opt_in: OptIn, warnings: &mut Vec<Warning>) {
    if workload.has_opt_in_label && reads_pod_label(opt_in) {
        warnings.push(Warning::label_on_workload_only(&workload.subject));
    }
}

impl<'a> PendingAdmission<'a> {
    /// Names that no service account can have are not asked for: a host makes a path or a query of them.
    fn or_answer(self) -> Admission<'a> {
        if !is_dns_label(&self.namespace) {
            let problem = ServiceAccountLookup::Failed("the namespace is no DNS label".to_owned());
            let answer = self.answer(problem);
            return Admission::Answered(answer.map_err(|denial| Denial { code: 400, ..denial }));
        }
        if !is_dns_subdomain(self.service_account_name()) {
            return Admission::Answered(self.answer(ServiceAccountLookup::Missing));
        }
        Admission::Pending(self)
    }

    /// Namespace of the service account to read.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Name of the service account to read.
    #[must_use]
    pub fn service_account_name(&self) -> &str {
        self.pod.service_account_name()
    }

    /// Finishes with what reading the service account came to.
    ///
    /// # Errors
    /// The pod is opted in and cannot be mutated: its service account is missing or unreadable, or asks for something
    /// that cannot be given.
    pub fn answer(self, lookup: ServiceAccountLookup) -> Answer {
        let subject = match &self.workload {
            Some(workload) => workload.pods.clone(),
            None => pod_subject(&self.pod),
        };
        let mut warnings = warnings_of_pod(&self.pod, &subject);
        let is_opted_in = match &lookup {
            ServiceAccountLookup::Found(account) => self.is_opted_in_by_itself() || account.is_opted_in(),
            ServiceAccountLookup::Missing | ServiceAccountLookup::Failed(_) => self.is_opted_in_by_itself(),
        };
        let answer = if is_opted_in {
            self.answer_for_opted_in(lookup, &subject)
        } else {
            self.warn_of_missed_opt_in(&lookup, &subject, &mut warnings);
            Ok(Mutation::default())
        };
        match (answer, self.workload) {
            (Ok(mutation), None) => {
                warnings.extend(mutation.warnings);
                Ok(Mutation { warnings, ..mutation })
            }
            (Err(denial), None) => Err(denial),
            (answer, Some(workload)) => {
                match answer {
                    Ok(mutation) => warnings.extend(mutation.warnings),
                    Err(denial) => warnings.push(Warning::pods_would_be_denied(&subject, &denial.message)),
                }
                if !is_opted_in {
                    warn_of_workload_label(&workload, self.config.opt_in, &mut warnings);
                }
                Ok(Mutation { warnings, ..Mutation::default() })
            }
        }
    }

    fn is_opted_in_by_itself(&self) -> bool {
        is_opted_in_by_itself(&self.pod, self.config.opt_in)
    }

    fn answer_for_opted_in(&self, lookup: ServiceAccountLookup, subject: &str) -> Answer {
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

    /// Signs that someone meant to opt this pod in, and did so where nobody looks, or that nobody could look.
    fn warn_of_missed_opt_in(
        &self,
        lookup: &ServiceAccountLookup,
        subject: &str,
        warnings: &mut Vec<Warning>,
    ) {
        let (namespace, name) = (&*self.namespace, self.service_account_name());
        let account_name = object_name(namespace, name);
        warn_of_missed_label(&self.pod, subject, self.config.opt_in, warnings);
        if is_labelled(&self.pod) {
            warnings.push(Warning::label_on_pod_only(subject, &account_name));
        }
        match lookup {
            ServiceAccountLookup::Found(account) => {
                let account_subject = format!("service account {account_name}");
                if let Some(value) = account.opt_in_label.as_deref() {
                    warnings.push(Warning::label_value(&account_subject, value));
                }
                if account.misplaced.opt_in_as_annotation {
                    warnings.push(Warning::label_is_annotation(&account_subject));
                }
            }
            ServiceAccountLookup::Missing => {}
            ServiceAccountLookup::Failed(reason) => {
                warnings.push(Warning::service_account_unreadable(namespace, name, reason));
            }
        }
    }
}
