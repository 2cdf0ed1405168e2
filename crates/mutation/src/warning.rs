//! Warnings about a pod that is admitted but may not be what the user meant.

use std::fmt;

use azwi_json::printable;

use crate::bounds::LONGEST_KEY_NAME;
use crate::names::ANNOTATION_PREFIX;
use crate::plan::Conflict;
use crate::text::object_name;
use crate::view::KeyKind;

/// A warning: a stable code and one sentence. Displayed as `AZWI001 sentence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    code: WarningCode,
    sentence: String,
}

macro_rules! warning_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Stable names of the warnings, explained in `docs/warnings.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum WarningCode { $($(#[$doc])* $name,)* }

        impl WarningCode {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The displayed code, for example `AZWI001`.
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
    /// A known label or annotation is where it has no effect.
    WrongObject = "AZWI004",
    /// The tenant-id annotation is present and empty.
    TenantIdEmpty = "AZWI005",
    /// The skip-containers annotation names a container that does not exist.
    SkippedContainerUnknown = "AZWI006",
    /// A container sets one of the injected variables itself, to another value.
    VariableKept = "AZWI007",
    /// A container mounts something else at the token's path, or something read-only above it.
    MountPathOccupied = "AZWI008",
    /// The proxy sidecar, a Linux image, was requested for a Windows pod.
    ProxyOnWindows = "AZWI009",
    /// The token is in a volume with another name, to which the mount does not refer, or mounted at another path.
    TokenVolumeElsewhere = "AZWI010",
    /// The service account that might have opted the pod in could not be read.
    ServiceAccountUnreadable = "AZWI011",
    /// The pods of this workload object would be denied.
    PodsWouldBeDenied = "AZWI012",
    /// The pod requests the token endpoint, which the configured token volume layout does not support.
    TokenEndpointUnavailable = "AZWI013",
    /// A volume with the token volume's name may not contain the token.
    TokenVolumeUnclear = "AZWI014",
    /// The pod's own token volume projects a token for another audience.
    TokenAudience = "AZWI015",
    /// A key with the project's prefix is unknown.
    UnknownKey = "AZWI016",
}

impl Warning {
    fn new(code: WarningCode, sentence: String) -> Self {
        Self { code, sentence }
    }

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

    /// `place` is what must be labelled instead.
    pub(crate) fn label_on_workload_only(kind: KeyKind, workload: &str, place: &str) -> Self {
        Self::new(
            WarningCode::WrongObject,
            format!("{kind} azure.workload.identity/use of {workload} has no effect; label {place}"),
        )
    }

    /// `name` is the key without its prefix.
    pub(crate) fn annotation_elsewhere(kind: KeyKind, name: &str, subject: &str, place: &str) -> Self {
        Self::new(
            WarningCode::WrongObject,
            format!("{name} {kind} of {subject} has no effect; annotate {place}"),
        )
    }

    /// See [`Warning::annotation_elsewhere`].
    pub(crate) fn annotation_is_label(name: &str, subject: &str) -> Self {
        Self::new(
            WarningCode::WrongObject,
            format!("{name} of {subject} is a label; it must be an annotation"),
        )
    }

    /// `known` is the most similar known key, without the prefix.
    pub(crate) fn unknown_key(kind: KeyKind, key: &str, subject: &str, known: &str) -> Self {
        let key = printable(key, ANNOTATION_PREFIX.len() + LONGEST_KEY_NAME);
        Self::new(
            WarningCode::UnknownKey,
            format!("{kind} {key} of {subject} is unknown; did you mean {known}?"),
        )
    }

    pub(crate) fn tenant_id_empty(namespace: &str, account: &str) -> Self {
        let account = object_name(namespace, account);
        Self::new(
            WarningCode::TenantIdEmpty,
            format!("tenant-id annotation of service account {account} is empty; AZURE_TENANT_ID is not set"),
        )
    }

    pub(crate) fn token_endpoint_not_set(kind: KeyKind, key: &str, subject: &str) -> Self {
        let key = printable(key, ANNOTATION_PREFIX.len() + LONGEST_KEY_NAME);
        Self::new(
            WarningCode::UnknownKey,
            format!("{kind} {key} of {subject} is unknown: setting tokenEndpoint is missing"),
        )
    }

    /// `meant` is the container with a similar name.
    pub(crate) fn skipped_container_unknown(pod: &str, container: &str, meant: &str) -> Self {
        let (container, meant) = (printable(container, 63), printable(meant, 63));
        Self::new(
            WarningCode::SkippedContainerUnknown,
            format!(
                "skip-containers of {pod} names \"{container}\", which it does not have; did you mean \"{meant}\"?"
            ),
        )
    }

    pub(crate) fn variable_kept(pod: &str, container: &str, variable: &str) -> Self {
        let container = printable(container, 63);
        Self::new(
            WarningCode::VariableKept,
            format!("container {container} of {pod} keeps its own value of {variable}"),
        )
    }

    /// `volume` is mounted at `path`.
    pub(crate) fn mount_conflict(
        pod: &str,
        container: &str,
        conflict: Conflict,
        volume: &str,
        path: &str,
    ) -> Self {
        let (container, volume, path) =
            (printable(container, 50), printable(volume, 50), printable(path, 40));
        let sentence = match conflict {
            Conflict::SamePlace => {
                format!("container {container} of {pod} mounts volume {volume} where the token belongs")
            }
            Conflict::NoMountPoint => format!(
                "container {container} of {pod} may not start: read-only volume {volume} at {path} has no folder for the token"
            ),
            Conflict::Below => format!(
                "container {container} of {pod} may not start: it mounts volume {volume} in the read-only token volume"
            ),
        };
        Self::new(WarningCode::MountPathOccupied, sentence)
    }

    pub(crate) fn token_volume_unclear(pod: &str, volume: &str, file: &str) -> Self {
        Self::new(
            WarningCode::TokenVolumeUnclear,
            format!("volume {volume} of {pod} is kept; it must contain the token in file {file}"),
        )
    }

    /// `audience` is empty for a token for the API server.
    pub(crate) fn token_audience(pod: &str, volume: &str, audience: &str, wanted: &str) -> Self {
        let audience = match audience {
            "" => "no audience".to_owned(),
            audience => format!("audience {}", printable(audience, 100)),
        };
        Self::new(
            WarningCode::TokenAudience,
            format!(
                "volume {volume} of {pod} projects a token for {audience}; {} is needed",
                printable(wanted, 100)
            ),
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

    pub(crate) fn token_mounted_elsewhere(pod: &str, container: &str, volume: &str, path: &str) -> Self {
        let container = printable(container, 50);
        Self::new(
            WarningCode::TokenVolumeElsewhere,
            format!("container {container} of {pod} must mount volume {volume} at {path}, without subPath"),
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
        let (account, reason) = (object_name(namespace, account), printable(reason, 160));
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
