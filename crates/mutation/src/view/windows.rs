//! Signs that a pod runs on Windows, besides `spec.os`.

use azwi_json::{JsonValue, Shape};

use crate::names::{
    AKS_OS_NODE_LABEL, GKE_OS_NODE_LABEL, OLD_OS_NODE_LABEL, OS_NODE_LABEL, WINDOWS_BUILD_NODE_LABEL,
};

/// The operating system's name in Kubernetes.
pub(super) const NAME: &str = "windows";

const REQUIRED_AFFINITY: &str = "requiredDuringSchedulingIgnoredDuringExecution";

pub(super) static NODE_SELECTOR: Shape = Shape::Object(&[
    (OS_NODE_LABEL, &Shape::Leaf),
    (OLD_OS_NODE_LABEL, &Shape::Leaf),
    (WINDOWS_BUILD_NODE_LABEL, &Shape::Leaf),
    (AKS_OS_NODE_LABEL, &Shape::Leaf),
    (GKE_OS_NODE_LABEL, &Shape::Leaf),
]);

pub(super) static SECURITY_CONTEXT: Shape = Shape::Object(&[("windowsOptions", &Shape::OpenObject(&[]))]);

pub(super) static AFFINITY: Shape =
    Shape::Object(&[("nodeAffinity", &Shape::Object(&[(REQUIRED_AFFINITY, &TERMS)]))]);

static TERMS: Shape = Shape::Object(&[(
    "nodeSelectorTerms",
    &Shape::List(&Shape::Object(&[
        (
            "matchExpressions",
            &Shape::List(&Shape::Object(&[
                ("key", &Shape::Leaf),
                ("operator", &Shape::Leaf),
                ("values", &Shape::List(&Shape::Leaf)),
            ])),
        ),
        ("matchFields", &Shape::List(&Shape::Leaf)),
    ])),
)]);

/// Whether a spec's node selector, node affinity or security contexts are for Windows.
pub(super) fn is_implied_by(spec: JsonValue<'_>) -> bool {
    selects_windows(spec)
        || requires_windows(spec)
        // Charts for both systems set the options always.
        || (has_windows_options(spec) && !selects_linux(spec))
}

/// Node labels that show Windows. The first two hold the system's name, the next two begin with it, and the last exists
/// only on Windows.
const NODE_LABELS: [&str; 5] =
    [OS_NODE_LABEL, OLD_OS_NODE_LABEL, AKS_OS_NODE_LABEL, GKE_OS_NODE_LABEL, WINDOWS_BUILD_NODE_LABEL];

/// Whether only Windows nodes have this value of one of [`NODE_LABELS`].
fn is_of_windows(label: &str, value: JsonValue<'_>) -> bool {
    match label {
        OS_NODE_LABEL | OLD_OS_NODE_LABEL => value.is_text(NAME),
        // `Windows2022`, `windows_ltsc`.
        AKS_OS_NODE_LABEL | GKE_OS_NODE_LABEL => {
            let start = value.raw().trim_start_matches('"').get(..NAME.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(NAME))
        }
        _ => true,
    }
}

fn selects_windows(spec: JsonValue<'_>) -> bool {
    let Some(selector) = spec.get("nodeSelector") else { return false };
    NODE_LABELS.into_iter().any(|label| selector.get(label).is_some_and(|value| is_of_windows(label, value)))
}

fn selects_linux(spec: JsonValue<'_>) -> bool {
    let Some(selector) = spec.get("nodeSelector") else { return false };
    [OS_NODE_LABEL, OLD_OS_NODE_LABEL]
        .into_iter()
        .any(|label| selector.get(label).is_some_and(|value| value.is_text("linux")))
}

/// Whether the pod or a container has options for Windows; with another `spec.os`, the API server rejects them.
fn has_windows_options(spec: JsonValue<'_>) -> bool {
    let containers = ["containers", "initContainers"].into_iter().filter_map(|key| spec.get(key));
    containers.flat_map(JsonValue::elements).chain([spec]).any(|holder| {
        let options = holder.get("securityContext").and_then(|context| context.get("windowsOptions"));
        options.is_some_and(|options| options.has_others_than(&[]))
    })
}

/// Whether each of the terms, any of which is enough for a node, allows only Windows. The API server handles values of
/// the wrong type.
fn requires_windows(spec: JsonValue<'_>) -> bool {
    let affinity = spec.get("affinity").and_then(|affinity| affinity.get("nodeAffinity"));
    let required = affinity.and_then(|affinity| affinity.get(REQUIRED_AFFINITY));
    let Some(terms) = required.and_then(|required| required.get("nodeSelectorTerms")) else { return false };
    // A term without expressions allows no node at all.
    let mut terms = terms
        .elements()
        .filter(|term| !has_no(*term, "matchExpressions") || !has_no(*term, "matchFields"))
        .peekable();
    terms.peek().is_some() && terms.all(term_leaves_windows)
}

fn has_no(term: JsonValue<'_>, expressions: &str) -> bool {
    term.get(expressions).is_none_or(|expressions| expressions.is_empty())
}

fn term_leaves_windows(term: JsonValue<'_>) -> bool {
    term.get("matchExpressions").is_some_and(|expressions| expressions.elements().any(leaves_windows))
}

fn leaves_windows(expression: JsonValue<'_>) -> bool {
    let key = expression.get("key");
    let Some(label) = NODE_LABELS.into_iter().find(|label| key.is_some_and(|key| key.is_text(label))) else {
        return false;
    };
    let is_operator = |name| expression.get("operator").is_some_and(|operator| operator.is_text(name));
    let values = || expression.get("values").into_iter().flat_map(JsonValue::elements);
    if is_operator("In") {
        values().next().is_some() && values().all(|value| is_of_windows(label, value))
    } else if is_operator("NotIn") {
        matches!(label, OS_NODE_LABEL | OLD_OS_NODE_LABEL) && values().any(|value| value.is_text("linux"))
    } else {
        label == WINDOWS_BUILD_NODE_LABEL && ["Exists", "Gt", "Lt"].into_iter().any(is_operator)
    }
}
