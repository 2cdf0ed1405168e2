#!/usr/bin/env bats
# The policy on a real cluster: policy-server as a pod with the shipped permissions, called by the API server through its
# Service with the shipped selectors. Kubewarden's controller is missing; setup_file creates its objects.

bats_require_minimum_version 1.5.0

demo=azure-wi-policy-demo
server=policy-server-azure-workload-identity
load helpers

setup() {
  [ -n "${POLICY_SERVER_IMAGE:-}" ] || skip "policy-server and kwctl are not installed (or POLICY_SERVER_IMAGE is not set)"
}

# Prints the webhook configuration of a shipped policy.
webhook_configuration() {
  kubectl label --local --dry-run=client -o json -f "deploy/kubewarden/$1" made-by=test |
    jq --arg bundle "$2" --arg server "$server" '
      (.metadata.name) as $name | .spec as $policy
      | {apiVersion: "admissionregistration.k8s.io/v1",
         kind: (if $policy.mutating then "MutatingWebhookConfiguration" else "ValidatingWebhookConfiguration" end),
         metadata: {name: $name},
         webhooks: [{name: "clusterwide-\($name).kubewarden.admission", admissionReviewVersions: ["v1"], sideEffects: "None",
           clientConfig: {caBundle: $bundle, service: {namespace: "kubewarden", name: $server, port: 443, path: "/validate/\($name)"}}}
           + ($policy | {rules, failurePolicy, objectSelector, namespaceSelector, timeoutSeconds} | with_entries(select(.value)))]}'
}

setup_file() {
  [ -n "${POLICY_SERVER_IMAGE:-}" ] || return 0
  cd "$BATS_TEST_DIRNAME/../.."
  local folder=$BATS_FILE_TMPDIR bundle file
  kubectl create namespace kubewarden
  kubectl create namespace "$demo"
  kubectl apply -f deploy/kubewarden/base/permissions.yaml
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=$server" \
    -addext "subjectAltName=DNS:$server.kubewarden.svc" -keyout "$folder/tls.key" -out "$folder/tls.crt" 2>/dev/null
  kubectl -n kubewarden create secret tls "$server" --cert="$folder/tls.crt" --key="$folder/tls.key"
  sed -e 's|module: .*|module: file:///policies/policy.wasm|' -e "s|tenantId: .*|tenantId: $tenant|" deploy/kubewarden/policies.yml >"$folder/policies.yml"
  kubectl -n kubewarden create configmap "$server" --from-file="$folder/policies.yml" --from-file=policy.wasm=annotated-policy.wasm
  kubectl -n kubewarden apply -f - <<Y
apiVersion: apps/v1
kind: Deployment
metadata: {name: $server}
spec:
  selector: {matchLabels: {app: $server}}
  template:
    metadata: {labels: {app: $server}}
    spec:
      serviceAccountName: azure-workload-identity-policy-server
      containers:
        - name: policy-server
          image: $POLICY_SERVER_IMAGE
          imagePullPolicy: IfNotPresent
          env:
            - {name: KUBEWARDEN_POLICIES, value: /policies/policies.yml}
            - {name: KUBEWARDEN_POLICIES_DOWNLOAD_DIR, value: /tmp}
            - {name: KUBEWARDEN_SIGSTORE_CACHE_DIR, value: /tmp/sigstore}
            - {name: KUBEWARDEN_CERT_FILE, value: /certs/tls.crt}
            - {name: KUBEWARDEN_KEY_FILE, value: /certs/tls.key}
            - {name: KUBEWARDEN_PORT, value: "8443"}
          readinessProbe: {httpGet: {path: /readiness, port: 8081}, periodSeconds: 1}
          volumeMounts: [{name: policies, mountPath: /policies}, {name: certs, mountPath: /certs}, {name: tmp, mountPath: /tmp}]
      volumes: [{name: policies, configMap: {name: $server}}, {name: certs, secret: {secretName: $server}}, {name: tmp, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: $server}
spec:
  selector: {app: $server}
  ports: [{port: 443, targetPort: 8443}]
Y
  kubectl -n kubewarden rollout status "deployment/$server" --timeout=120s || { kubectl -n kubewarden logs "deployment/$server"; return 1; }
  bundle=$(base64 -w0 "$folder/tls.crt")
  for file in base/labelled-pods.yaml base/service-accounts.yaml advice/workload-objects.yaml; do
    webhook_configuration "$file" "$bundle" | kubectl apply -f -
  done
}

teardown_file() {
  [ -n "${POLICY_SERVER_IMAGE:-}" ] || return 0
  cd "$BATS_TEST_DIRNAME/../.."
  kubectl delete mutatingwebhookconfiguration azure-workload-identity azure-workload-identity-service-accounts
  kubectl delete validatingwebhookconfiguration azure-workload-identity-advice
  kubectl delete -f deploy/kubewarden/base/permissions.yaml
  kubectl delete namespace kubewarden azure-wi-demo "$demo" --ignore-not-found --wait=false
}

@test "the walk-through ends with a container that has its variables and its token" {
  demo_runs_with_its_identity
}

@test "what docs/kubewarden.md has people paste gives a pod its identity" {
  cd "$BATS_TEST_DIRNAME/../.."
  e2e-tests/docs/commands docs/kubewarden.md | sed -n '/^kubectl create namespace azure-wi-demo/,$p' >"$BATS_TEST_TMPDIR/commands"
  cat "$BATS_TEST_TMPDIR/commands"
  run --separate-stderr bash -euo pipefail "$BATS_TEST_TMPDIR/commands"
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [[ $output == *"value: 5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1"* ]]
}

@test "a labelled service account opts in a pod that is not labelled" {
  demo_account labelled "$client"
  [ "$(pod_dry_run labelled false 2>/dev/null | client_id_of)" = "$client" ]
}

@test "a labelled pod without its service account's client id is admitted with a warning" {
  missing_client_id_is_warned_of
}

@test "a Deployment whose pods would be denied shows it at kubectl apply" {
  denial_of_its_pods_is_told
}

@test "the shipped permissions are what it needs, and no more" {
  allowed() { kubectl auth can-i "$@" --as=system:serviceaccount:kubewarden:azure-workload-identity-policy-server >/dev/null; }
  allowed get serviceaccounts -A
  run ! allowed list serviceaccounts -A
  run ! allowed watch serviceaccounts -A
  run ! allowed get secrets -A
  run ! allowed get pods -A
  demo_account unreadable "$client"
  kubectl delete clusterrolebinding azure-workload-identity-policy-server
  run --separate-stderr pod_dry_run unreadable
  kubectl apply -f "$BATS_TEST_DIRNAME/../../deploy/kubewarden/base/permissions.yaml"
  echo "$output $stderr"
  [ "$status" -ne 0 ]
  [[ $stderr == *"the policy server's own service account is not allowed to get serviceaccounts"* ]]
}

@test "without the policy server labelled pods wait and others start" {
  demo_account waiting "$client"
  kubectl -n kubewarden scale "deployment/$server" --replicas=0
  kubectl -n kubewarden wait --for=delete pod -l "app=$server" --timeout=60s
  run --separate-stderr pod_dry_run waiting
  [ "$status" -ne 0 ]
  [[ $stderr == *"clusterwide-azure-workload-identity.kubewarden.admission"* ]]
  [ "$(pod_dry_run waiting false | jq -r .kind)" = Pod ]
}
