//! Names shared by pods, service accounts and Azure SDK clients. The project's own keys and variables are exactly upstream's.

/// Label that opts in a pod or service account if its value is exactly [`OPT_IN_VALUE`].
pub(crate) const OPT_IN_LABEL: &str = "azure.workload.identity/use";
/// The only value of [`OPT_IN_LABEL`] that counts.
pub(crate) const OPT_IN_VALUE: &str = "true";

/// Prefix of the project's labels and annotations.
pub const ANNOTATION_PREFIX: &str = "azure.workload.identity/";
/// Service account annotation: client id of the application or managed identity.
pub(crate) const CLIENT_ID_ANNOTATION: &str = "azure.workload.identity/client-id";
/// Service account annotation: tenant id, overrides the setting.
pub(crate) const TENANT_ID_ANNOTATION: &str = "azure.workload.identity/tenant-id";
/// Pod or service account annotation: token lifetime in seconds.
pub(crate) const TOKEN_EXPIRATION_ANNOTATION: &str =
    "azure.workload.identity/service-account-token-expiration";
/// Pod annotation: containers that are not injected, separated by `;` or `,`.
pub(crate) const SKIP_CONTAINERS_ANNOTATION: &str = "azure.workload.identity/skip-containers";
/// Pod annotation: requests the proxy sidecar.
pub(crate) const INJECT_PROXY_ANNOTATION: &str = "azure.workload.identity/inject-proxy-sidecar";
/// Pod annotation: port of the proxy sidecar.
pub(crate) const PROXY_PORT_ANNOTATION: &str = "azure.workload.identity/proxy-sidecar-port";
/// Prefix of the pod annotation that opts a pod in to the token endpoint, followed by the setting's suffix.
pub(crate) const TOKEN_ENDPOINT_ANNOTATION_PREFIX: &str = "azure.workload.identity/use-";

/// Annotation of mirror pods, which represent a kubelet's static pods; the API server rejects tokens in them.
pub(crate) const MIRROR_POD_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// Node label: operating system.
pub(crate) const OS_NODE_LABEL: &str = "kubernetes.io/os";
/// Node label: operating system, older name.
pub(crate) const OLD_OS_NODE_LABEL: &str = "beta.kubernetes.io/os";
/// Node label: build of Windows.
pub(crate) const WINDOWS_BUILD_NODE_LABEL: &str = "node.kubernetes.io/windows-build";
/// Node label of AKS: operating system and its release, for example `Windows2022`.
pub(crate) const AKS_OS_NODE_LABEL: &str = "kubernetes.azure.com/os-sku";
/// Node label of GKE: operating system and its kind of release, for example `windows_ltsc`.
pub(crate) const GKE_OS_NODE_LABEL: &str = "cloud.google.com/gke-os-distribution";

pub(crate) const CLIENT_ID_ENV: &str = "AZURE_CLIENT_ID";
pub(crate) const TENANT_ID_ENV: &str = "AZURE_TENANT_ID";
/// Environment variable: path of the projected token.
pub(crate) const TOKEN_FILE_ENV: &str = "AZURE_FEDERATED_TOKEN_FILE";
/// Environment variable: URL of the authority, with a trailing slash.
pub(crate) const AUTHORITY_HOST_ENV: &str = "AZURE_AUTHORITY_HOST";
/// Environment variable of the token endpoint: URL.
pub(crate) const TOKEN_PROXY_ENV: &str = "AZURE_KUBERNETES_TOKEN_PROXY";
/// Environment variable of the token endpoint: TLS server name.
pub(crate) const SNI_NAME_ENV: &str = "AZURE_KUBERNETES_SNI_NAME";
/// Environment variable of the token endpoint: path of the CA certificate.
pub(crate) const CA_FILE_ENV: &str = "AZURE_KUBERNETES_CA_FILE";
/// Environment variable of the token endpoint: the CA certificate itself, PEM.
pub(crate) const CA_DATA_ENV: &str = "AZURE_KUBERNETES_CA_DATA";

/// Audience of the token unless the settings override it.
pub(crate) const DEFAULT_AUDIENCE: &str = "api://AzureADTokenExchange";
/// Service account of a pod that does not set one.
pub(crate) const DEFAULT_SERVICE_ACCOUNT: &str = "default";

/// The containers of the proxy sidecar.
pub(crate) const PROXY_CONTAINERS: [&str; 2] = [PROXY_CONTAINER, PROXY_INIT_CONTAINER];
pub(crate) const PROXY_CONTAINER: &str = "azwi-proxy";
pub(crate) const PROXY_INIT_CONTAINER: &str = "azwi-proxy-init";
