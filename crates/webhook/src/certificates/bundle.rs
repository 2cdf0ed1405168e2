//! The caBundle of a webhook configuration: what must be changed there, and who else changes it. Pure, no I/O.
//!
//! Only the caBundle fields are written, so that the API server records an update of those fields and nothing more. A
//! manager that *applies* a field also owns the list entry, and then nobody else can remove the entry with an apply.

use std::collections::BTreeSet;

use azwi_json::printable;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

/// Field manager under which the API server records the writes.
pub(super) const FIELD_MANAGER: &str = "azwi-webhook";
/// How long a caBundle must stay correct before earlier rewrites are forgotten: longer than the interval of tools that
/// reconcile clusters.
const CALM: Duration = Duration::hours(2);
/// The number of rewrites that can no longer be an accident.
const NOTABLE: u32 = 2;
/// Maximum number of other managers that are named.
const MOST_NAMES: usize = 5;
const LONGEST_NAME: usize = 64;

/// Changes that a webhook configuration needs.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    /// Entries with a different bundle, by index and name.
    entries: Vec<(usize, String)>,
    /// The managed fields without the entries that an earlier version applied, if there are such entries.
    managed_fields: Option<Vec<ManagedFieldsEntry>>,
}

impl Change {
    /// Returns `None` if no change is needed.
    pub(super) fn needed(configuration: &MutatingWebhookConfiguration, wanted: &ByteString) -> Option<Self> {
        let entries: Vec<_> = webhooks(configuration)
            .enumerate()
            .filter(|(_, webhook)| webhook.client_config.ca_bundle.as_ref() != Some(wanted))
            .map(|(place, webhook)| (place, webhook.name.clone()))
            .collect();
        let managed_fields = without_applied(configuration);
        (!entries.is_empty() || managed_fields.is_some()).then_some(Self { entries, managed_fields })
    }

    pub(super) fn writes_bundle(&self) -> bool {
        !self.entries.is_empty()
    }

    /// Whether ownership is released.
    pub(super) fn lets_go(&self) -> bool {
        self.managed_fields.is_some()
    }

    /// The change as a JSON Patch, which fails if the entries have moved.
    pub(super) fn patch(&self, configuration: &MutatingWebhookConfiguration, wanted: &ByteString) -> Value {
        let mut operations = Vec::new();
        if let Some(fields) = &self.managed_fields {
            // Ownership that others have gained in the meantime must not be lost.
            if let Some(version) = &configuration.metadata.resource_version {
                operations.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}));
            }
            operations.push(json!({"op": "replace", "path": "/metadata/managedFields", "value": fields}));
        }
        for (place, name) in &self.entries {
            let path = format!("/webhooks/{place}");
            operations.push(json!({"op": "test", "path": format!("{path}/name"), "value": name}));
            let path = format!("{path}/clientConfig/caBundle");
            operations.push(json!({"op": "add", "path": path, "value": wanted}));
        }
        Value::Array(operations)
    }

    /// The configuration after the change, for an API server that lets the webhook update but not patch.
    pub(super) fn applied_to(
        self,
        mut configuration: MutatingWebhookConfiguration,
        wanted: &ByteString,
    ) -> MutatingWebhookConfiguration {
        if let Some(fields) = self.managed_fields {
            configuration.metadata.managed_fields = Some(fields);
        }
        for webhook in configuration.webhooks.iter_mut().flatten() {
            webhook.client_config.ca_bundle = Some(wanted.clone());
        }
        configuration
    }
}

fn webhooks(configuration: &MutatingWebhookConfiguration) -> impl Iterator<Item = &MutatingWebhook> {
    configuration.webhooks.iter().flatten()
}

pub(super) fn bundles(configuration: &MutatingWebhookConfiguration) -> impl Iterator<Item = &[u8]> {
    webhooks(configuration)
        .map(|webhook| webhook.client_config.ca_bundle.as_ref().map_or(&[] as &[u8], |bundle| &bundle.0))
}

fn managed_fields(configuration: &MutatingWebhookConfiguration) -> &[ManagedFieldsEntry] {
    configuration.metadata.managed_fields.as_deref().unwrap_or_default()
}

/// The managed fields without the entries that an earlier version applied; `None` if there are none.
fn without_applied(configuration: &MutatingWebhookConfiguration) -> Option<Vec<ManagedFieldsEntry>> {
    let was_applied =
        |entry: &ManagedFieldsEntry| is_ours(entry) && entry.operation.as_deref() == Some("Apply");
    let all = managed_fields(configuration);
    if !all.iter().any(was_applied) {
        return None;
    }
    let mut rest: Vec<_> = all.iter().filter(|entry| !was_applied(entry)).cloned().collect();
    if rest.is_empty() {
        // The API server takes an empty list to mean no change, and one empty entry to mean that all are removed.
        rest.push(ManagedFieldsEntry::default());
    }
    Some(rest)
}

fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER)
}

/// Whether this manager owns the caBundle of any entry.
fn owns_bundle(entry: &ManagedFieldsEntry) -> bool {
    let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:webhooks")?.as_object());
    let mut entries = fields.into_iter().flat_map(serde_json::Map::values);
    entries.any(|fields| fields.pointer("/f:clientConfig/f:caBundle").is_some())
}

/// Detects others that write the caBundle as well, again and again.
#[derive(Debug, Default)]
pub(super) struct Rewrites {
    /// The state after the last write: the entries by name, and the bundle that all of them had.
    left: Option<(BTreeSet<String>, ByteString)>,
    count: u32,
    last: Option<OffsetDateTime>,
}

/// A change of the caBundle by someone else.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rewrite {
    /// How many there have been so far.
    pub count: u32,
    /// Whether to log it: once, when it can no longer be an accident.
    pub is_notable: bool,
    /// The field managers that wrote it, as far as the API server knows.
    pub by: String,
}

impl Rewrites {
    /// Records a configuration as read; returns a rewrite if others have changed the bundle since the last write.
    pub(super) fn find(
        &mut self,
        configuration: &MutatingWebhookConfiguration,
        wanted: &ByteString,
        now: OffsetDateTime,
    ) -> Option<Rewrite> {
        let (names, left) = self.left.as_ref()?;
        let is_changed = webhooks(configuration).any(|webhook| {
            let found = webhook.client_config.ca_bundle.as_ref();
            // A new entry has no bundle yet, and another replica may be a step ahead.
            names.contains(&webhook.name) && found != Some(left) && found != Some(wanted)
        });
        if !is_changed || was_replica(configuration) {
            return None;
        }
        if self.last.is_some_and(|last| now - last >= CALM) {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last = Some(now);
        Some(Rewrite { count: self.count, is_notable: self.count == NOTABLE, by: others(configuration) })
    }

    /// Records that every entry has the bundle now.
    pub(super) fn leave(&mut self, configuration: &MutatingWebhookConfiguration, bundle: ByteString) {
        let names = webhooks(configuration).map(|webhook| webhook.name.clone()).collect();
        self.left = Some((names, bundle));
    }
}

/// Whether a replica of this webhook wrote the bundle last.
fn was_replica(configuration: &MutatingWebhookConfiguration) -> bool {
    let mut owners = managed_fields(configuration).iter().filter(|entry| owns_bundle(entry)).peekable();
    owners.peek().is_some() && owners.all(is_ours) && bundles(configuration).all(|bundle| !bundle.is_empty())
}

/// The other owners of the caBundle; if it has no owner because it was removed, the manager that wrote last.
fn others(configuration: &MutatingWebhookConfiguration) -> String {
    let others = || managed_fields(configuration).iter().filter(|entry| !is_ours(entry));
    let mut names: BTreeSet<&str> =
        others().filter(|entry| owns_bundle(entry)).filter_map(|entry| entry.manager.as_deref()).collect();
    if names.is_empty() {
        let last = others().max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
        names.extend(last.and_then(|entry| entry.manager.as_deref()));
    }
    if names.is_empty() {
        return "unknown".to_owned();
    }
    let names: Vec<_> = names.iter().take(MOST_NAMES).map(|name| printable(name, LONGEST_NAME)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
    use serde_json::{Value, json};
    use time::{Duration, OffsetDateTime};

    use super::{Change, Rewrites};

    fn bytes(text: &str) -> ByteString {
        ByteString(text.into())
    }

    /// A configuration with these bundles, for entries `a`, `b` and so on.
    fn configuration(bundles: &[&str], managed_fields: Value) -> MutatingWebhookConfiguration {
        let entries: Vec<_> = ["a", "b", "c"]
            .iter()
            .zip(bundles)
            .map(|(name, bundle)| {
                let config = if bundle.is_empty() {
                    json!({"url": "https://x"})
                } else {
                    json!({"url": "https://x", "caBundle": bytes(bundle)})
                };
                json!({"name": name, "clientConfig": config, "sideEffects": "None", "admissionReviewVersions": ["v1"]})
            })
            .collect();
        let mut metadata = json!({"name": "x", "resourceVersion": "7"});
        metadata["managedFields"] = managed_fields;
        serde_json::from_value(json!({"metadata": metadata, "webhooks": entries})).unwrap()
    }

    fn owner(manager: &str, operation: &str, time: &str, bundle_of: &[&str]) -> Value {
        let entries: serde_json::Map<_, _> = bundle_of
            .iter()
            .map(|name| (format!("k:{{\"name\":\"{name}\"}}"), json!({"f:clientConfig": {"f:caBundle": {}}})))
            .collect();
        json!({"manager": manager, "operation": operation, "time": time, "apiVersion": "admissionregistration.k8s.io/v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:webhooks": entries}})
    }

    const MORNING: &str = "2026-11-25T08:00:00Z";
    const NOON: &str = "2026-11-25T12:00:00Z";

    #[test]
    fn nothing_is_written_where_everything_is_right() {
        let wanted = bytes("new");
        let helm = owner("helm", "Apply", MORNING, &[]);
        let ours = owner("azwi-webhook", "Update", NOON, &["a", "b"]);
        let right = configuration(&["new", "new"], json!([helm, ours]));
        assert_eq!(Change::needed(&right, &wanted), None);
    }

    #[test]
    fn only_what_is_wrong_is_written_and_only_where_it_was() {
        let wanted = bytes("new");
        let found = configuration(&["new", "old", ""], json!([]));
        let change = Change::needed(&found, &wanted).unwrap();
        assert!(change.writes_bundle() && !change.lets_go());
        assert_eq!(
            change.patch(&found, &wanted),
            json!([
                {"op": "test", "path": "/webhooks/1/name", "value": "b"},
                {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": wanted},
                {"op": "test", "path": "/webhooks/2/name", "value": "c"},
                {"op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": wanted},
            ])
        );
        let replaced = change.applied_to(found, &wanted);
        assert_eq!(replaced, configuration(&["new", "new", "new"], json!([])));
    }

    #[test]
    fn what_an_earlier_version_applied_is_let_go_of() {
        let wanted = bytes("new");
        let others = [owner("helm", "Apply", MORNING, &[]), owner("azwi-webhook", "Update", NOON, &["a"])];
        let applied = owner("azwi-webhook", "Apply", NOON, &["a", "b"]);
        let found = configuration(&["new"], json!([others[0], applied, others[1]]));
        let change = Change::needed(&found, &wanted).unwrap();
        assert!(!change.writes_bundle() && change.lets_go());
        assert_eq!(
            change.patch(&found, &wanted),
            json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "replace", "path": "/metadata/managedFields", "value": others},
            ])
        );
        assert_eq!(change.applied_to(found, &wanted), configuration(&["new"], json!(others)));
    }

    #[test]
    fn nobody_elses_ownership_is_told_by_one_empty_entry() {
        let found = configuration(&["new"], json!([owner("azwi-webhook", "Apply", NOON, &["a"])]));
        let change = Change::needed(&found, &bytes("new")).unwrap();
        assert_eq!(change.patch(&found, &bytes("new"))[1]["value"], json!([{}]));
    }

    fn at(minutes: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::minutes(minutes)
    }

    /// The state after the first write.
    fn left() -> (Rewrites, ByteString) {
        let mut rewrites = Rewrites::default();
        rewrites.leave(&configuration(&["ours", "ours"], json!([])), bytes("ours"));
        (rewrites, bytes("ours"))
    }

    #[test]
    fn people_are_told_once_from_the_second_rewrite_on() {
        let (mut rewrites, wanted) = left();
        let argo = owner("argocd-controller", "Apply", NOON, &["a"]);
        let ours = owner("azwi-webhook", "Update", NOON, &["b"]);
        let found =
            configuration(&["theirs", "ours"], json!([owner("helm", "Apply", NOON, &[]), argo, ours]));
        let told: Vec<_> = (0..4).map(|minute| rewrites.find(&found, &wanted, at(minute)).unwrap()).collect();
        assert_eq!(
            told.iter().map(|it| (it.count, it.is_notable)).collect::<Vec<_>>(),
            [(1, false), (2, true), (3, false), (4, false)]
        );
        assert!(told.iter().all(|it| it.by == "argocd-controller"), "{told:?}");
    }

    #[test]
    fn what_stays_right_for_a_while_is_forgotten() {
        let (mut rewrites, wanted) = left();
        let found = configuration(&["theirs", "ours"], json!([]));
        assert_eq!(rewrites.find(&found, &wanted, at(0)).unwrap().count, 1);
        assert_eq!(rewrites.find(&found, &wanted, at(119)).unwrap().count, 2);
        assert_eq!(rewrites.find(&found, &wanted, at(239)).unwrap().count, 1);
        assert!(rewrites.find(&found, &wanted, at(240)).unwrap().is_notable);
    }

    #[test]
    fn neither_a_first_look_nor_a_new_entry_nor_another_replica_is_a_rewrite() {
        let wanted = bytes("newer");
        let theirs = configuration(&["theirs"], json!([]));
        assert_eq!(Rewrites::default().find(&theirs, &wanted, at(0)), None);
        let (mut rewrites, _) = left();
        let ours = owner("azwi-webhook", "Update", NOON, &["a", "b"]);
        for found in [
            configuration(&["ours", "ours", ""], json!([])),
            configuration(&["newer", "ours"], json!([])),
            configuration(&["in between", "in between"], json!([owner("helm", "Apply", MORNING, &[]), ours])),
        ] {
            assert_eq!(rewrites.find(&found, &wanted, at(0)), None, "{found:?}");
        }
    }

    #[test]
    fn who_takes_the_bundle_away_is_told_by_time_and_names_are_cut() {
        let (mut rewrites, wanted) = left();
        let long = "x".repeat(100);
        let managers = json!([
            owner("helm", "Update", MORNING, &[]),
            owner(&format!("{long}\n"), "Update", NOON, &[]),
            owner("azwi-webhook", "Update", "2026-11-25T13:00:00Z", &["b"]),
        ]);
        let rewrite = rewrites.find(&configuration(&["", "ours"], managers), &wanted, at(0)).unwrap();
        assert_eq!(rewrite.by, format!("{}…", "x".repeat(64)));
        let rewrite = rewrites.find(&configuration(&["", ""], json!([])), &wanted, at(0)).unwrap();
        assert_eq!(rewrite.by, "unknown");
    }
}
