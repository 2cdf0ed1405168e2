//! The service accounts that `inject` knows.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use azwi_json::{JsonText, JsonValue};
use azwi_manifest::Document;
use azwi_mutation::{ServiceAccount, ServiceAccountLookup};
use kube::Client;
use tokio::runtime::Runtime;

use super::objects::{items, text_of};
use crate::kubernetes;
use crate::service_accounts::read_one;

/// Service accounts from manifests, and the cluster to ask for others.
pub struct Accounts {
    default_namespace: String,
    known: HashMap<(String, String), ServiceAccountLookup>,
    cluster: Option<(Runtime, Client)>,
}

impl Accounts {
    /// No accounts; those without a namespace will be in `default_namespace`.
    pub fn new(default_namespace: &str) -> Self {
        Self { default_namespace: default_namespace.to_owned(), known: HashMap::new(), cluster: None }
    }

    /// Adds the service accounts of a document, in a List or not.
    pub fn add(&mut self, document: &Document) {
        let Some(json) = document.json.as_deref().and_then(|json| JsonText::parse(json).ok()) else { return };
        for item in items(json.root()) {
            if item.group.is_empty() && item.kind == "ServiceAccount" {
                self.add_object(item.object);
            }
        }
    }

    fn add_object(&mut self, object: JsonValue<'_>) {
        let namespace = text_of(object, &["metadata", "namespace"]);
        let namespace = if namespace.is_empty() { self.default_namespace.clone() } else { namespace };
        let account = match ServiceAccount::read(object) {
            Ok(account) => ServiceAccountLookup::Found(account),
            Err(problem) => ServiceAccountLookup::Failed(problem),
        };
        self.known.insert((namespace, text_of(object, &["metadata", "name"])), account);
    }

    /// Asks the cluster for service accounts that are missing from the manifests.
    ///
    /// # Errors
    /// There is no usable configuration of a cluster.
    pub fn read_others_from_cluster(&mut self, kubeconfig: Option<&Path>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(kubernetes::client(kubeconfig))?;
        self.cluster = Some((runtime, client));
        Ok(())
    }

    pub(super) fn find(&self, namespace: &str, name: &str) -> ServiceAccountLookup {
        if let Some(known) = self.known.get(&(namespace.to_owned(), name.to_owned())) {
            return known.clone();
        }
        let Some((runtime, client)) = &self.cluster else { return ServiceAccountLookup::Missing };
        runtime.block_on(read_one(client, namespace, name))
    }
}
