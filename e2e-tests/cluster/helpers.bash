# Shared by the tests on a cluster. The webhook's namespace is $system, the demo's is $demo.
# shellcheck shell=bash

tenant=72f988bf-86f1-41ef-91ab-2d7cd011db47
client=5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1
configuration=azure-wi-webhook-mutating-webhook-configuration
chart=${BASH_SOURCE[0]%/*}/../../charts/azure-workload-identity-webhook

source "${BASH_SOURCE[0]%/*}/../helpers.bash"

# Runs a Helm command on the chart; $HELM is Helm 3 or 4.
helm_webhook() {
  "${HELM:-helm}" "$1" azwi "$chart" --namespace "$system" \
    --set azureTenantID="$tenant" --set image.repository="$IMAGE_REPOSITORY" --set image.release="$IMAGE_TAG" "${@:2}"
}

available() {
  kubectl -n "$system" rollout status deployment/azure-wi-webhook-controller-manager --timeout="$1" || { tell_why_not; return 1; }
}

# Prints the status of the nodes and the webhook's pods to help debug a failed test.
tell_why_not() {
  kubectl get nodes -o json | jq -r '.items[] | .metadata.name, (.status.conditions[] | "  \(.type) \(.status) \(.message)")'
  kubectl -n "$system" get pods -o wide
  kubectl -n "$system" get events --sort-by=.lastTimestamp | tail -n 20
}

# A service account with its annotation and label.
demo_account() {
  kubectl -n "$demo" apply -f - <<Y
apiVersion: v1
kind: ServiceAccount
metadata:
  name: $1
  labels: {azure.workload.identity/use: "true"}
  annotations: {azure.workload.identity/client-id: "$2"}
Y
}

# Creates a pod of a service account as a dry run; prints the object that would be stored. The second argument is the value of
# its label, the third an annotation as KEY=VALUE.
pod_dry_run() {
  local annotation=
  [ -z "${3:-}" ] || annotation="\"${3%%=*}\": \"${3#*=}\""
  kubectl -n "$demo" create --dry-run=server -o json -f - <<Y
apiVersion: v1
kind: Pod
metadata:
  generateName: asked-
  labels: {azure.workload.identity/use: "${2:-true}"}
  annotations: {$annotation}
spec:
  serviceAccountName: $1
  containers: [{name: c, image: $WORKLOAD_IMAGE, resources: {requests: {cpu: 10m}}}]
Y
}

# Checks that a labelled pod of a service account gets its client id.
gets_identity() { [ "$(pod_dry_run "$1" 2>/dev/null | client_id_of)" = "$client" ]; }

# An unlabelled pod of a labelled service account gets its client id.
opts_in() { [ "$(pod_dry_run "$1" false 2>/dev/null | client_id_of)" = "$client" ]; }

client_id_of() { jq -r '.spec.containers[0].env[]? | select(.name == "AZURE_CLIENT_ID").value'; }

# A Deployment of labelled pods with a service account and, if given, annotations; as a dry run.
deployment_dry_run() {
  local none='{}'
  kubectl -n "$demo" apply --dry-run=server -f - <<Y
apiVersion: apps/v1
kind: Deployment
metadata: {name: asked}
spec:
  selector: {matchLabels: {app: asked}}
  template:
    metadata:
      labels: {app: asked, azure.workload.identity/use: "true"}
      annotations: ${2:-$none}
    spec: {serviceAccountName: $1, containers: [{name: c, image: x}]}
Y
}

# A labelled pod whose service account has no client id is admitted with a warning.
missing_client_id_is_warned_of() {
  kubectl -n "$demo" create serviceaccount plain
  run --separate-stderr pod_dry_run plain
  [ "$status" -eq 0 ]
  [[ $stderr == *"Warning: AZWI001 service account $demo/plain has no client-id annotation"* ]]
}

# Applying a Deployment whose pods would be denied gives a warning.
denial_of_its_pods_is_told() {
  demo_account applied "$client"
  run --separate-stderr deployment_dry_run applied '{azure.workload.identity/service-account-token-expiration: "60"}'
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [[ $stderr == *"AZWI012 pods of Deployment asked would be denied: token expiration 60 not valid"* ]]
}

# The walk-through: account, Deployment, and a container with its variables and a token of its service account.
demo_runs_with_its_identity() {
  local manifests=${BASH_SOURCE[0]%/*}/../../crates/demo/manifests
  kubectl apply -f "$manifests/service-account.yaml"
  # Only the account opts these pods in, and such pods are admitted as they are while the API server cannot call yet: right
  # after an installation it learns of the caBundle and of the endpoints.
  eventually opts_in sysadminas-demo-sa
  sed "s|image: .*|image: $WORKLOAD_IMAGE|" "$manifests/azure-wi-demo.yaml" | kubectl apply -f -
  kubectl -n "$demo" rollout status deployment/azure-wi-demo --timeout=60s
  has_token() { kubectl -n "$demo" logs deployment/azure-wi-demo | grep -q '^TOKEN=e'; }
  eventually has_token
  logs=$(kubectl -n "$demo" logs deployment/azure-wi-demo)
  [[ $logs == *"AZURE_CLIENT_ID=$client"* ]]
  [[ $logs == *"AZURE_TENANT_ID=$tenant"* ]]
  [[ $logs == *"AZURE_FEDERATED_TOKEN_FILE=/var/run/secrets/azure/tokens/azure-identity-token"* ]]
  [[ $logs == *"AZURE_AUTHORITY_HOST=https://login.microsoftonline.com/"* ]]
  claims=$(sed -n 's/^TOKEN=//p' <<<"$logs" | jq -R 'split(".")[1] | gsub("-"; "+") | gsub("_"; "/") | @base64d | fromjson')
  [ "$(jq -r '.aud[0]' <<<"$claims")" = api://AzureADTokenExchange ]
  [ "$(jq -r .sub <<<"$claims")" = "system:serviceaccount:$demo:sysadminas-demo-sa" ]
}
