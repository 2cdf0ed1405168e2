#!/usr/bin/env bats
# The chart where platforms differ: the host's network, user ids that are refused, others that write the webhook configuration,
# one replica on a node that is drained, a part of another chart, a second installation, Pod Security and quotas for the proxy,
# a webhook that adds containers.

bats_require_minimum_version 1.5.0

# Not those of the other files, which may still be ending.
system=azwi-platforms
demo=azwi-platforms-demo
load helpers

setup_file() {
  kubectl create namespace "$system"
  kubectl create namespace "$demo"
  demo_account applied "$client"
}

teardown_file() {
  helm uninstall azwi --namespace "$system" --ignore-not-found
  helm uninstall azwi --namespace "$demo-beside" --ignore-not-found
  kubectl delete validatingadmissionpolicybinding,validatingadmissionpolicy no-user-ids --ignore-not-found
  kubectl delete namespace "$demo" "$demo-beside" "$demo-baseline" "$demo-quota" "$system" --ignore-not-found --wait=false
}

# What a failed test would leave in the way of the next.
teardown() {
  helm uninstall parent --namespace "$system" --ignore-not-found --wait
  kubectl delete mutatingwebhookconfiguration zz-mesh --ignore-not-found
  [ ! -e "$BATS_TEST_TMPDIR/injector" ] || kill "$(cat "$BATS_TEST_TMPDIR/injector")"
}

setup() {
  helm_webhook upgrade --install --reset-values --set replicaCount=1
  available 60s
  eventually gets_identity applied
}

@test "one replica does not keep its node from being drained" {
  local node
  node=$(kubectl get nodes -o jsonpath='{.items[0].metadata.name}')
  kubectl drain "$node" --pod-selector=app=workload-identity-webhook --delete-emptydir-data --timeout=60s
  kubectl uncordon "$node"
  available 60s
}

@test "it runs on the host's network, on other ports" {
  helm_webhook upgrade --reset-values --set replicaCount=1 --set hostNetwork=true --set service.targetPort=19443 \
    --set metricsAddr=:18095 --set healthAddr=:19440
  available 90s
  eventually gets_identity applied
}

@test "it runs where any explicit user id is refused" {
  kubectl apply -f - <<Y
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-user-ids}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  validations:
    - expression: '!has(object.spec.securityContext.runAsUser) && object.spec.containers.all(c, !has(c.securityContext.runAsUser))'
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-user-ids}
spec:
  policyName: no-user-ids
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: $system}}}
Y
  is_in_force() { ! kubectl -n "$system" run refused --image=x --dry-run=server --overrides='{"spec":{"securityContext":{"runAsUser":7}}}'; }
  eventually is_in_force
  kubectl -n "$system" rollout restart deployment/azure-wi-webhook-controller-manager
  available 60s
}

# As AKS's admissions enforcer does.
enforce_selector() {
  kubectl get mutatingwebhookconfiguration "$configuration" -o json |
    jq '[.webhooks | keys[] | {op: "add", path: "/webhooks/\(.)/namespaceSelector", value: {matchExpressions: [{key: "control-plane", operator: "DoesNotExist"}]}}]' |
    kubectl patch mutatingwebhookconfiguration "$configuration" --type=json --field-manager=admissionsenforcer --patch-file=/dev/stdin
}

@test "an upgrade goes through after somebody else wrote the namespace selector and the caBundle" {
  local helms=(helm)
  ! command -v helm4 >/dev/null || helms+=(helm4)
  for HELM in "${helms[@]}"; do
    # Helm 4 applies on the server only what it has installed itself.
    helm uninstall azwi --namespace "$system" --wait
    helm_webhook install --set replicaCount=1
    available 60s
    enforce_selector
    kubectl patch mutatingwebhookconfiguration "$configuration" --type=json --field-manager=somebody \
      -p '[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]'
    helm_webhook upgrade --reset-values --set replicaCount=1 --set workloadWarnings=false
    available 60s
    eventually gets_identity applied
    helm_webhook upgrade --reset-values --set replicaCount=1
    available 60s
  done
}

@test "a parent chart with a condition installs it" {
  local parent=$BATS_TEST_TMPDIR/parent helms=(helm)
  ! command -v helm4 >/dev/null || helms+=(helm4)
  write_parent_chart "$parent"
  helm uninstall azwi --namespace "$system" --wait
  for HELM in "${helms[@]}"; do
    install_parent() {
      "$HELM" upgrade --install parent "$parent" --namespace "$system" --set global.team=x \
        --set azure-workload-identity-webhook.replicaCount=1 \
        --set azure-workload-identity-webhook.azureTenantID="$tenant" \
        --set azure-workload-identity-webhook.image.repository="$IMAGE_REPOSITORY" \
        --set azure-workload-identity-webhook.image.release="$IMAGE_TAG" "$@"
    }
    install_parent --set azure-workload-identity-webhook.enabled=true
    available 60s
    eventually gets_identity applied
    install_parent --set azure-workload-identity-webhook.enabled=false
    run ! kubectl get mutatingwebhookconfiguration "$configuration"
    helm uninstall parent --namespace "$system" --wait
  done
}

@test "a second installation beside the first, with its own names, changes nothing for pods" {
  # Without the random end of the API server's own volume.
  spec() { pod_dry_run applied | jq -S .spec | sed 's/kube-api-access-[a-z0-9]*/kube-api-access/'; }
  local alone
  alone=$(spec)
  system=$demo-beside helm_webhook install --create-namespace --set replicaCount=1 \
    --set webhookConfiguration.name=beside-webhook-configuration --set clusterRole.name=beside-manager-role
  system=$demo-beside available 60s
  has_authority() {
    kubectl get mutatingwebhookconfiguration beside-webhook-configuration -o json | jq -e '(.webhooks[0].clientConfig.caBundle // "") != ""'
  }
  eventually has_authority
  eventually gets_identity applied
  diff <(spec) - <<<"$alone"
  # It was asked as well: without it, no labelled pod is admitted.
  kubectl -n "$demo-beside" scale deployment/azure-wi-webhook-controller-manager --replicas=0
  is_refused() { ! pod_dry_run applied >/dev/null 2>&1; }
  eventually is_refused
  helm uninstall azwi --namespace "$demo-beside" --wait
  eventually gets_identity applied
}

# A pod that asks for the proxy sidecar, in a namespace; as a dry run.
pod_with_proxy() { demo=$1 pod_dry_run default true azure.workload.identity/inject-proxy-sidecar=true; }

namespace_with_default_account() {
  kubectl apply -f - <<Y
{apiVersion: v1, kind: Namespace, metadata: {name: $1, labels: {$2}}}
Y
  eventually kubectl -n "$1" get serviceaccount default
}

@test "Pod Security baseline refuses the proxy's init container, privileged or not" {
  namespace_with_default_account "$demo-baseline" "pod-security.kubernetes.io/enforce: baseline"
  refused_for() { pod_with_proxy "$demo-baseline" 2>&1 | grep -q "violates PodSecurity \"baseline.*$1"; }
  eventually refused_for 'privileged.*azwi-proxy-init'
  helm_webhook upgrade --reset-values --set replicaCount=1 --set settings.proxy.initPrivileged=false
  available 60s
  eventually refused_for 'non-default capabilities.*azwi-proxy-init.*NET_RAW'
}

@test "with resources a pod with the proxy is admitted where a ResourceQuota requires them" {
  namespace_with_default_account "$demo-quota" ""
  kubectl -n "$demo-quota" create quota cpu --hard=requests.cpu=1
  is_refused() { pod_with_proxy "$demo-quota" 2>&1 | grep -q 'must specify requests.cpu for: azwi-proxy'; }
  eventually is_refused
  helm_webhook upgrade --reset-values --set replicaCount=1 \
    --set settings.proxy.resources.requests.cpu=10m --set settings.proxy.initResources.requests.cpu=20m
  available 60s
  requests() {
    pod_with_proxy "$demo-quota" | jq -cS '[.spec.initContainers[], .spec.containers[] | select(.name | startswith("azwi-proxy"))
      | {(.name): .resources.requests.cpu}] | add'
  }
  has_resources() { [ "$(requests 2>/dev/null)" = '{"azwi-proxy":"10m","azwi-proxy-init":"20m"}' ]; }
  eventually has_resources
}

@test "a container that a later webhook adds gets its identity, unless it is named" {
  need python3 openssl
  # The API server of the tests' own cluster shares a network with them; others could not call back.
  [ "$(kubectl config current-context)" = "${CLUSTER_NAME:-azwi}" ] || skip "needs the tests' own cluster"
  local node=10.88.0.1 files=$BATS_TEST_TMPDIR
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=mesh -addext "subjectAltName=IP:$node" \
    -keyout "$files/key.pem" -out "$files/certificate.pem" 2>/dev/null
  python3 "$BATS_TEST_DIRNAME/sidecar-injector.py" "$node" "$files/certificate.pem" "$files/key.pem" 3>&- >"$files/port" &
  echo $! >"$files/injector"
  eventually test -s "$files/port"
  kubectl apply -f - <<Y
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: zz-mesh}
webhooks:
  - name: mesh.example.com
    clientConfig: {url: "https://$node:$(cat "$files/port")/", caBundle: "$(base64 -w0 "$files/certificate.pem")"}
    rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: $demo}}
    admissionReviewVersions: [v1]
    sideEffects: None
Y
  equipped() { jq -c '[.spec.containers[] | select(.env[]?.name == "AZURE_CLIENT_ID").name]'; }
  both_are_equipped() { [ "$(pod_dry_run applied | equipped)" = '["c","istio-proxy"]' ]; }
  eventually both_are_equipped
  run --separate-stderr pod_dry_run applied true azure.workload.identity/skip-containers=istio-proxy
  [ "$(equipped <<<"$output")" = '["c"]' ]
  jq -e '.spec.containers[1].name == "istio-proxy"' <<<"$output"
  [[ $stderr != *istio-proxy* ]]
}
