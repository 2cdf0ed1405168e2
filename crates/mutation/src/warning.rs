//! What people are told about a pod that is admitted but may not be what they meant.

use std::fmt;

use azwi_json::printable;

use crate::text::object_name;

/// A warning: a stable code and one sentence. Displayed as `AZWI001 sentence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    code: WarningCode,
    sentence: String,
}

macro_rules! warning_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Stable names of the warnings, explained one by one in `docs/warnings.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum WarningCode { $($(#[$doc])* $name,)* }

        impl WarningCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it is shown, for example `AZWI001`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }
    };
}

warning_codes! {
    /// The service account of an opted-in pod has no client id.
    NoClientId = "AZWI001",
    /// The client id is not a GUID.
    ClientIdNotGuid = "AZWI002",
    /// The opt-in label has a value other than "true".
    LabelValue = "AZWI003",
    /// The opt-in label or the client id stands where nothing reads it.
    WrongObject = "AZWI004",
    /// The tenant-id annotation is present and empty.
    TenantIdEmpty = "AZWI005",
    /// The skip-containers annotation names a container that does not exist.
    SkippedContainerUnknown = "AZWI006",
    /// A container sets one of the injected variables itself, to another value.
    VariableKept = "AZWI007",
    /// A container mounts something else where the token belongs.
    MountPathOccupied = "AZWI008",
    /// The proxy sidecar, a Linux image, was asked for on a Windows pod.
    ProxyOnWindows = "AZWI009",
    /// The token is projected by a volume of another name, which the mount does not refer to.
    TokenVolumeElsewhere = "AZWI010",
    /// The service account that might have opted the pod in could not be read.
    ServiceAccountUnreadable = "AZWI011",
    /// The pods of this workload object would be denied.
    PodsWouldBeDenied = "AZWI012",
    /// The pod asks for the token endpoint, which the configured token volume layout cannot serve.
    TokenEndpointUnavailable = "AZWI013",
}

impl Warning {
    fn new(code: WarningCode, sentence: String) -> Self {
        Self { code, sentence }
    }

    /// The stable code.
    pub fn code(&self) -> WarningCode {
        self.code
    }

    pub(crate) fn no_client_id(namespace: &str, account: &str) -> Self {
        let account = object_name(namespace, account);
        Self::new(
            WarningCode::NoClientId,
            format!("service account {account} has no client-id annotation; AZURE_CLIENT_ID is not set"),
        )
    }

    pub(crate) fn client_id_not_guid(namespace: &str, account: &str, client_id: &str) -> Self {
        let account = object_name(namespace, account);
        let client_id = printable(client_id, 40);
        Self::new(
            WarningCode::ClientIdNotGuid,
            format!("client-id \"{client_id}\" of service account {account} is not a GUID"),
        )
    }

    pub(crate) fn label_value(subject: &str, value: &str) -> Self {
        let value = printable(value, 20);
        Self::new(
            WarningCode::LabelValue,
            format!("label azure.workload.identity/use of {subject} is \"{value}\"; only \"true\" opts in"),
        )
    }

    pub(crate) fn label_is_annotation(subject: &str) -> Self {
        Self::new(
            WarningCode::WrongObject,
            format!("azure.workload.identity/use is an annotation of {subject}; it must be a label"),
        )
    }

    pub(crate) fn label_on_pod_only(pod: &str, account: &str) -> Self {
        Self::new(
            WarningCode::WrongObject,
            format!(
                "label azure.workload.identity/use of {pod} has no effect; label service account {account}"
            ),
        )
    }

    pub(crate) fn label_on_workload_only(workload: &str) -> Self {
        Self::new(
            WarningCode::WrongObject,
            format!("label azure.workload.identity/use of {workload} has no effect; label its pod template"),
        )
    }

    pub(crate) fn client_id_on_pod(pod: &str) -> Self {
        Self::new(
            WarningCode::WrongObject,
            format!("client-id annotation of {pod} has no effect; annotate its service account"),
        )
    }

    pub(crate) fn client_id_is_label(namespace: &str, account: &str) -> Self {
        let account = object_name(namespace, account);
        Self::new(
            WarningCode::WrongObject,
            format!("client-id of service account {account} is a label; it must be an annotation"),
        )
    }

    pub(crate) fn tenant_id_empty(namespace: &str, account: &str) -> Self {
        let account = object_name(namespace, account);
        Self::new(
            WarningCode::TenantIdEmpty,
            format!("tenant-id annotation of service account {account} is empty; AZURE_TENANT_ID is not set"),
        )
    }

    pub(crate) fn skipped_container_unknown(pod: &str, container: &str) -> Self {
        let container = printable(container, 63);
        Self::new(
            WarningCode::SkippedContainerUnknown,
            format!("skip-containers of {pod} names \"{container}\", which is no container of it"),
        )
    }

    pub(crate) fn variable_kept(pod: &str, container: &str, variable: &str) -> Self {
        let container = printable(container, 63);
        Self::new(
            WarningCode::VariableKept,
            format!("container {container} of {pod} keeps its own value of {variable}"),
        )
    }

    pub(crate) fn mount_path_occupied(pod: &str, container: &str, volume: &str) -> Self {
        let (container, volume) = (printable(container, 63), printable(volume, 63));
        Self::new(
            WarningCode::MountPathOccupied,
            format!("container {container} of {pod} mounts volume {volume} where the token belongs"),
        )
    }

    pub(crate) fn proxy_on_windows(pod: &str) -> Self {
        Self::new(
            WarningCode::ProxyOnWindows,
            format!("proxy sidecar of {pod} runs on Linux only, but its OS is Windows"),
        )
    }

    pub(crate) fn token_volume_elsewhere(pod: &str, volume: &str, expected: &str) -> Self {
        let volume = printable(volume, 63);
        Self::new(
            WarningCode::TokenVolumeElsewhere,
            format!("volume {volume} of {pod} projects the token already; rename it {expected}"),
        )
    }

    pub(crate) fn token_endpoint_unavailable(pod: &str) -> Self {
        Self::new(
            WarningCode::TokenEndpointUnavailable,
            format!(
                "token endpoint of {pod} is not set up: it needs setting tokenVolume reserved or reserved-per-pod"
            ),
        )
    }

    pub(crate) fn service_account_unreadable(namespace: &str, account: &str, reason: &str) -> Self {
        let (account, reason) = (object_name(namespace, account), printable(reason, 100));
        Self::new(
            WarningCode::ServiceAccountUnreadable,
            format!("service account {account} could not be read, nothing was injected: {reason}"),
        )
    }

    pub(crate) fn pods_would_be_denied(pods: &str, denial: &str) -> Self {
        let denial = printable(denial, 200);
        Self::new(WarningCode::PodsWouldBeDenied, format!("{pods} would be denied: {denial}"))
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.as_str(), self.sentence)
    }
}
