# What the tests on a cluster share. The namespace of the demo is $demo.
# shellcheck shell=bash

tenant=72f988bf-86f1-41ef-91ab-2d7cd011db47
client=5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1

# Waits until a command succeeds, at most 30 seconds.
eventually() {
  for _ in $(seq 150); do
    if "$@"; then return 0; fi
    sleep 0.2
  done
  echo "never happened: $*"
  return 1
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

# A pod that is only asked for, not created; prints what would be stored.
pod_dry_run() {
  kubectl -n "$demo" create --dry-run=server -o json -f - <<Y
apiVersion: v1
kind: Pod
metadata:
  generateName: asked-
  labels: {azure.workload.identity/use: "${2:-true}"}
spec:
  serviceAccountName: $1
  containers: [{name: c, image: $DEMO_IMAGE}]
Y
}

client_id_of() { jq -r '.spec.containers[0].env[]? | select(.name == "AZURE_CLIENT_ID").value'; }

# A Deployment whose pods would be denied.
bad_deployment_dry_run() {
  kubectl -n "$demo" apply --dry-run=server -f - <<Y
apiVersion: apps/v1
kind: Deployment
metadata: {name: bad}
spec:
  selector: {matchLabels: {app: bad}}
  template:
    metadata:
      labels: {app: bad, azure.workload.identity/use: "true"}
      annotations: {azure.workload.identity/service-account-token-expiration: "60"}
    spec: {serviceAccountName: $1, containers: [{name: c, image: x}]}
Y
}

# The walk-through: account, Deployment, a container that has its variables and a token of its service account.
demo_runs_with_its_identity() {
  demo_account sysadminas-demo-sa "$client"
  kubectl -n "$demo" apply -f - <<Y
apiVersion: apps/v1
kind: Deployment
metadata: {name: azure-wi-demo}
spec:
  selector: {matchLabels: {app: azure-wi-demo}}
  template:
    metadata: {labels: {app: azure-wi-demo, azure.workload.identity/use: "true"}}
    spec:
      serviceAccountName: sysadminas-demo-sa
      containers: [{name: demo, image: $DEMO_IMAGE, imagePullPolicy: IfNotPresent}]
Y
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
