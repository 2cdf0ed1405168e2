#!/usr/bin/env bats
# Tools that use server-side apply: Helm 4, kubectl apply --server-side, and therefore Flux and Argo CD. They can only
# remove an entry of the webhook configuration that nobody else owns, and the webhook writes the caBundle into each entry.

bats_require_minimum_version 1.5.0

# Not the namespace of webhook.bats, which may still be terminating.
system=azwi-server-side
demo=azwi-server-side-demo
HELM=helm4
load helpers

setup() {
  need helm4
}

setup_file() {
  command -v helm4 >/dev/null || return 0
  kubectl create namespace "$system"
  kubectl create namespace "$demo"
  demo_account applied "$client"
}

teardown_file() {
  command -v helm4 >/dev/null || return 0
  helm4 uninstall azwi --namespace "$system" --ignore-not-found
  # Leftovers of the last test if it fails.
  kubectl delete clusterrole,clusterrolebinding,mutatingwebhookconfiguration -l azure-workload-identity.io/system=true
  kubectl delete namespace "$demo" "$system" --wait=false
}

configuration_json() { kubectl get mutatingwebhookconfiguration "$configuration" -o json --show-managed-fields; }

entries() { configuration_json | jq -r '[.webhooks[].name | split(".")[0]] | join(" ")'; }

# The webhook has written the caBundle, and only the given manager owns an entry. The caBundle may have another owner.
is_settled() {
  configuration_json | jq -e --arg owner "$1" '([.webhooks[].clientConfig.caBundle] | all(. != null) and (unique | length) == 1)
    and ([.metadata.managedFields[] | select(.fieldsV1["f:webhooks"] // {} | any(.[]; has("."))).manager] | unique) == [$owner]' >/dev/null
}

settled() {
  eventually is_settled "$1" || { configuration_json | jq -c '.metadata.managedFields[] | {manager, operation, webhooks: .fieldsV1["f:webhooks"]}'; return 1; }
}

install() {
  helm_webhook upgrade --install "$@"
  available 60s
  settled helm
  [ "$(entries)" = "mutation service-accounts warnings" ]
}

@test "Helm 4 installs, and takes entries away" {
  install
  eventually gets_identity applied
  helm_webhook upgrade --set optIn=pod
  [ "$(entries)" = "mutation warnings" ]
  helm_webhook upgrade --set workloadWarnings=false
  available 60s
  [ "$(entries)" = "mutation service-accounts" ]
  settled helm
  eventually gets_identity applied
}

@test "Helm 4 takes entries away that an earlier version of the webhook owned" {
  install
  # As in earlier versions: with server-side apply, which owns what it applies.
  configuration_json | jq '{apiVersion, kind, metadata: {name: .metadata.name},
      webhooks: [.webhooks[] | {name, clientConfig: {caBundle: .clientConfig.caBundle}}]}' |
    kubectl apply --server-side --force-conflicts --field-manager=azwi-webhook -f -
  run ! is_settled helm
  kubectl -n "$system" rollout restart deployment/azure-wi-webhook-controller-manager
  available 60s
  settled helm
  helm_webhook upgrade --set workloadWarnings=false
  [ "$(entries)" = "mutation service-accounts" ]
}

@test "a caBundle that somebody edited is healed, and its entry still not owned" {
  install
  kubectl patch mutatingwebhookconfiguration "$configuration" --type=json --field-manager=helm \
    -p '[{"op": "replace", "path": "/webhooks/1/clientConfig/caBundle", "value": ""}]'
  settled helm
}

@test "kubectl apply --server-side takes entries away" {
  helm4 uninstall azwi --namespace "$system" --ignore-not-found --wait
  manifests() { helm_webhook template --kube-version 1.35.0 "$@" >"$BATS_TEST_TMPDIR/manifests.yaml"; }
  manifests
  kubectl apply --server-side --field-manager=gitops -f "$BATS_TEST_TMPDIR/manifests.yaml"
  available 60s
  settled gitops
  eventually gets_identity applied
  manifests --set optIn=pod
  kubectl apply --server-side --field-manager=gitops -f "$BATS_TEST_TMPDIR/manifests.yaml"
  [ "$(entries)" = "mutation warnings" ]
  settled gitops
  eventually gets_identity applied
  kubectl delete -f "$BATS_TEST_TMPDIR/manifests.yaml" --wait=false
}
