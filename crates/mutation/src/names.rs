//! Names that pods, service accounts and clients of Azure SDKs agree on. All are upstream's, letter for letter.

/// Label on a pod or service account that opts it in when its value is exactly [`OPT_IN_VALUE`].
pub(crate) const OPT_IN_LABEL: &str = "azure.workload.identity/use";
/// The one value of [`OPT_IN_LABEL`] that counts.
pub(crate) const OPT_IN_VALUE: &str = "true";

/// Prefix of every annotation that is read.
pub const ANNOTATION_PREFIX: &str = "azure.workload.identity/";
/// Service account annotation: client id of the application or managed identity.
pub(crate) const CLIENT_ID_ANNOTATION: &str = "azure.workload.identity/client-id";
/// Service account annotation: tenant id, overriding the setting.
pub(crate) const TENANT_ID_ANNOTATION: &str = "azure.workload.identity/tenant-id";
/// Pod or service account annotation: life of the token in seconds.
pub(crate) const TOKEN_EXPIRATION_ANNOTATION: &str =
    "azure.workload.identity/service-account-token-expiration";
/// Pod annotation: containers that get nothing, separated by `;` or `,`.
pub(crate) const SKIP_CONTAINERS_ANNOTATION: &str = "azure.workload.identity/skip-containers";
/// Pod annotation: asks for the proxy sidecar.
pub(crate) const INJECT_PROXY_ANNOTATION: &str = "azure.workload.identity/inject-proxy-sidecar";
/// Pod annotation: port of the proxy sidecar.
pub(crate) const PROXY_PORT_ANNOTATION: &str = "azure.workload.identity/proxy-sidecar-port";
/// Prefix of the pod annotation that opts a pod into the token endpoint; the setting's suffix follows.
pub(crate) const TOKEN_ENDPOINT_ANNOTATION_PREFIX: &str = "azure.workload.identity/use-";

/// Environment variable: client id.
pub(crate) const CLIENT_ID_ENV: &str = "AZURE_CLIENT_ID";
/// Environment variable: tenant id.
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

/// Audience of the token unless the settings say otherwise.
pub(crate) const DEFAULT_AUDIENCE: &str = "api://AzureADTokenExchange";
/// Service account of a pod that names none.
pub(crate) const DEFAULT_SERVICE_ACCOUNT: &str = "default";

/// Name of the injected proxy sidecar.
pub(crate) const PROXY_CONTAINER: &str = "azwi-proxy";
/// Name of the injected init container that redirects traffic to the proxy sidecar.
pub(crate) const PROXY_INIT_CONTAINER: &str = "azwi-proxy-init";
