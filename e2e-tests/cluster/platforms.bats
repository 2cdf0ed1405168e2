#!/usr/bin/env bats
# The chart where platforms differ: the host's network, user ids that are refused, others that write the webhook configuration,
# one replica on a node that is drained.

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
  kubectl delete validatingadmissionpolicybinding,validatingadmissionpolicy no-user-ids --ignore-not-found
  kubectl delete namespace "$demo" "$system" --wait=false
}

setup() {
  helm_webhook upgrade --install --reset-values --set replicaCount=1
  available 60s
  eventually gets_identity applied
}

@test "one replica does not keep its node from being drained" {
  kubectl drain node --pod-selector=app=workload-identity-webhook --delete-emptydir-data --timeout=60s
  kubectl uncordon node
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
  kubectl patch mutatingwebhookconfiguration "$configuration" --type=json --field-manager=admissionsenforcer -p '[
    {"op": "add", "path": "/webhooks/0/namespaceSelector", "value": {"matchExpressions": [{"key": "control-plane", "operator": "DoesNotExist"}]}},
    {"op": "add", "path": "/webhooks/1/namespaceSelector", "value": {"matchExpressions": [{"key": "control-plane", "operator": "DoesNotExist"}]}}]'
}

@test "an upgrade goes through after somebody else wrote the namespace selector and the caBundle" {
  local helms=(helm)
  ! command -v helm4 >/dev/null || helms+=(helm4)
  for HELM in "${helms[@]}"; do
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
