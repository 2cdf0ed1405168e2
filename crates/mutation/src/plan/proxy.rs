//! The proxy sidecar, for programs that support only the instance metadata service.

use k8s_openapi::api::core::v1::{Capabilities, ContainerPort, EnvVar, ExecAction, VolumeMount};
use serde::Serialize;

use super::environment::variable;
use super::go_int::parse_int;
use crate::config::{Choice as _, ProxyConfig, Resources};
use crate::denial::Denial;
use crate::names::{INJECT_PROXY_ANNOTATION, PROXY_CONTAINER, PROXY_INIT_CONTAINER, PROXY_PORT_ANNOTATION};
use crate::patch::{Fragment, List, Patch, Pointer, fragment};
use crate::view::{PodHead, PodSpec};
use azwi_json::with_member;

const DEFAULT_PORT: i32 = 8000;

/// The parts of a `Container` that are injected. The API's own type would pull the serialisation of all others, such as
/// probes, into the wasm.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProxyContainer<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<EnvVar>,
    image: &'a str,
    image_pull_policy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifecycle: Option<Lifecycle>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<[ContainerPort; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_policy: Option<&'a str>,
    security_context: SecurityContext,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volume_mounts: Vec<VolumeMount>,
}

/// See [`ProxyContainer`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lifecycle {
    post_start: PostStart,
}

/// See [`ProxyContainer`].
#[derive(Debug, Serialize)]
struct PostStart {
    exec: ExecAction,
}

/// See [`ProxyContainer`].
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_privilege_escalation: Option<bool>,
    capabilities: Capabilities,
    privileged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only_root_filesystem: Option<bool>,
    run_as_non_root: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_as_user: Option<i64>,
}

/// A pod's request for the proxy sidecar.
#[derive(Debug)]
pub(crate) struct ProxyRequest {
    port: i32,
}

impl ProxyRequest {
    /// Reads the pod's annotations; returns `None` if the sidecar is not requested.
    ///
    /// # Errors
    /// The pod shares the node's network, or the port is invalid.
    pub(crate) fn of(pod: &PodHead<'_>, spec: &PodSpec<'_>) -> Result<Option<Self>, Denial> {
        let Some(wish) = pod.annotation(INJECT_PROXY_ANNOTATION) else { return Ok(None) };
        if wish.eq_ignore_ascii_case("false") {
            return Ok(None);
        }
        if spec.host_network {
            return Err(Denial::invalid("hostNetwork is set to true, cannot inject proxy sidecar"));
        }
        Ok(Some(Self { port: pod.annotation(PROXY_PORT_ANNOTATION).map_or(Ok(DEFAULT_PORT), port)? }))
    }

    /// Adds the missing containers. `equip` gives each its environment and mounts.
    pub(crate) fn add_to(
        &self,
        spec: &PodSpec<'_>,
        config: &ProxyConfig,
        equip: impl Fn(&str) -> (Vec<EnvVar>, Vec<VolumeMount>),
        patch: &mut Patch,
    ) {
        let sidecar = (!spec.has_container(PROXY_CONTAINER))
            .then(|| with_resources(&self.sidecar(config, &equip), config.resources.as_ref()));
        let init = (!spec.has_container(PROXY_INIT_CONTAINER))
            .then(|| with_resources(&self.init(config, &equip), config.init_resources.as_ref()));
        let (first_init, first) = if config.native_sidecar { (sidecar, None) } else { (None, sidecar) };

        insert(List::InitContainers, spec.init_containers.is_empty(), first_init, init, patch);
        insert(List::Containers, spec.containers.is_empty(), first, None, patch);
    }

    fn sidecar<'a>(
        &self,
        config: &'a ProxyConfig,
        equip: impl Fn(&str) -> (Vec<EnvVar>, Vec<VolumeMount>),
    ) -> ProxyContainer<'a> {
        let (env, volume_mounts) = equip(PROXY_CONTAINER);
        let port = format!("--proxy-port={}", self.port);
        let log_level = format!("--log-level={}", config.log_level.word());
        let probe = vec!["/proxy".to_owned(), port.clone(), "--probe".to_owned(), log_level.clone()];
        ProxyContainer {
            name: PROXY_CONTAINER,
            image: &config.image,
            image_pull_policy: "IfNotPresent",
            args: vec![port, log_level],
            ports: Some([ContainerPort { container_port: self.port, ..ContainerPort::default() }]),
            lifecycle: Some(Lifecycle {
                post_start: PostStart { exec: ExecAction { command: Some(probe) } },
            }),
            security_context: SecurityContext {
                allow_privilege_escalation: Some(false),
                capabilities: Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) },
                privileged: false,
                read_only_root_filesystem: Some(true),
                run_as_non_root: true,
                run_as_user: None,
            },
            restart_policy: config.native_sidecar.then_some("Always"),
            env,
            volume_mounts,
        }
    }

    fn init<'a>(
        &self,
        config: &'a ProxyConfig,
        equip: impl Fn(&str) -> (Vec<EnvVar>, Vec<VolumeMount>),
    ) -> ProxyContainer<'a> {
        let (mut env, volume_mounts) = equip(PROXY_INIT_CONTAINER);
        // A privileged container has all of them; upstream lists the one without which its command would fail.
        let capabilities: &[&str] =
            if config.init_privileged { &["NET_ADMIN"] } else { &["NET_ADMIN", "NET_RAW"] };
        env.insert(0, variable("PROXY_PORT", &self.port.to_string()));
        ProxyContainer {
            name: PROXY_INIT_CONTAINER,
            image: &config.init_image,
            image_pull_policy: "IfNotPresent",
            security_context: SecurityContext {
                capabilities: Capabilities {
                    add: Some(capabilities.iter().map(|&name| name.to_owned()).collect()),
                    drop: Some(vec!["ALL".to_owned()]),
                },
                privileged: config.init_privileged,
                run_as_non_root: false,
                run_as_user: Some(0),
                ..SecurityContext::default()
            },
            env,
            volume_mounts,
            ..ProxyContainer::default()
        }
    }
}

fn port(annotation: &str) -> Result<i32, Denial> {
    let number = parse_int(annotation, 32)
        .map_err(|problem| Denial::invalid(format!("failed to parse proxy sidecar port: {problem}")))?;
    i32::try_from(number).ok().filter(|port| (1..=65535).contains(port)).ok_or_else(|| {
        Denial::invalid(format!(
            "proxy sidecar port {number} not valid. Expected value to be between 1 and 65535"
        ))
    })
}

/// The JSON text of a container, with the resources that are set for it.
fn with_resources(container: &ProxyContainer<'_>, resources: Option<&Resources>) -> Fragment {
    let container = fragment(container);
    match resources {
        Some(Resources(resources)) => with_member(container.to_string(), "resources", resources).into(),
        None => container,
    }
}

/// Inserts `first` before and `last` after the containers of a list.
fn insert(list: List, is_empty: bool, first: Option<Fragment>, last: Option<Fragment>, patch: &mut Patch) {
    let place = Pointer::list(list);
    if is_empty {
        let mut both = Vec::new();
        both.extend(first);
        both.extend(last);
        patch.append(place, true, &both);
        return;
    }
    // The one at the front is inserted last, so that the other indexes are still those of the original pod.
    if let Some(container) = last {
        patch.add(place.end(), container);
    }
    if let Some(container) = first {
        patch.add(place.at(0), container);
    }
}
