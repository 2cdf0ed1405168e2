#!/usr/bin/env bats
# The chart's rendered output and rejected values; cluster/webhook.bats installs it.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  cd "$BATS_TEST_DIRNAME/.."
  need helm kubectl jq
}

# Renders the chart for a version of Kubernetes, with extra arguments for Helm.
render() {
  helm template azwi charts/azure-workload-identity-webhook --namespace own --kube-version "$1" \
    --set azureTenantID=contoso.example "${@:2}"
}

# The same as one list of JSON objects.
objects() { render "$@" | kubectl label --local --dry-run=client -o json -f - rendered=yes | jq -s .; }

# Helm rejects the values, and says why.
refused() {
  local why=$1
  run --separate-stderr render 1.35.0 "${@:2}"
  echo "$stderr"
  [ "$status" -ne 0 ]
  [[ $stderr == *"$why"* ]]
}

@test "no entry looks at pods of the webhook's own namespace" {
  conditions=$(objects 1.35.0 | jq -c '[.[] | select(.kind == "MutatingWebhookConfiguration").webhooks[]
    | [.namespaceSelector, (.matchConditions | map(.expression))]]')
  echo "$conditions"
  [ "$conditions" = '[[null,["!(request.namespace in [\"own\"])"]],[null,["!(request.namespace in [\"kube-system\",\"own\"])"]],[null,["!(request.namespace in [\"kube-system\",\"own\"])"]]]' ]
}

@test "the user's namespace selector stays the user's" {
  selectors=$(objects 1.35.0 --set mutatingWebhookNamespaceSelector.matchLabels.tier=apps |
    jq -c '[.[] | select(.kind == "MutatingWebhookConfiguration").webhooks[].namespaceSelector] | unique')
  echo "$selectors"
  [ "$selectors" = '[{"matchLabels":{"tier":"apps"}}]' ]
}

@test "before Kubernetes 1.30, which knows matchConditions, exclusions are in the selector" {
  selectors=$(objects 1.29.8-gke.100 --set mutatingWebhookNamespaceSelector.matchLabels.tier=apps |
    jq -c '[.[] | select(.kind == "MutatingWebhookConfiguration").webhooks[]
      | [.matchConditions, .namespaceSelector.matchLabels.tier, .namespaceSelector.matchExpressions[-1].values]]')
  echo "$selectors"
  [ "$selectors" = '[[null,"apps",["own"]],[null,"apps",["kube-system","own"]],[null,"apps",["kube-system","own"]]]' ]
}

@test "the webhook's pods cannot be labelled to wait for themselves" {
  refused "podLabels must not have azure.workload.identity/use" --set-string 'podLabels.azure\.workload\.identity/use=true'
}

@test "a caBundle beside certificates of the webhook's own is refused" {
  refused "certificates.caBundle is only for certificates.mode secret" --set certificates.caBundle=PEM
  render 1.35.0 --set certificates.mode=secret --set certificates.caBundle=PEM | grep -q "caBundle: $(printf PEM | base64)"
}

@test "the network policy lets in whom the values name, and anybody where they name nobody" {
  cat >"$BATS_TEST_TMPDIR/values.yaml" <<'Y'
networkPolicy:
  enabled: true
  webhookFrom:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {app: konnectivity-agent}}
    - ipBlock: {cidr: 10.10.0.0/28}
  metricsFrom:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}
Y
  policy=$(objects 1.35.0 --values "$BATS_TEST_TMPDIR/values.yaml" | jq -c '.[] | select(.kind == "NetworkPolicy").spec.ingress')
  echo "$policy"
  sources() { jq -c --arg port "$1" '[.[] | select(.ports == [{port: $port}]).from]' <<<"$policy"; }
  [ "$(sources webhook-server)" = '[[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"kube-system"}},"podSelector":{"matchLabels":{"app":"konnectivity-agent"}}},{"ipBlock":{"cidr":"10.10.0.0/28"}}]]' ]
  [ "$(sources metrics)" = '[[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"monitoring"}}}]]' ]
  [ "$(sources healthz)" = '[null]' ]
  # The policy refers to the container's ports by name.
  objects 1.35.0 | jq -e --argjson policy "$policy" '[.[] | select(.kind == "Deployment").spec.template.spec.containers[0].ports[].name]
    | sort == ($policy | map(.ports[].port) | sort)'
  refused "additional properties 'ipblock' not allowed" --set-json 'networkPolicy.webhookFrom=[{"ipblock": {"cidr": "10.0.0.0/8"}}]'
}

@test "one late probe changes nothing, and a replica that stops is left out within its lame duck" {
  objects 1.35.0 | jq -e '.[] | select(.kind == "Deployment").spec.template.spec.containers[0]
    | (.args[] | select(startswith("--lame-duck=")) | ltrimstr("--lame-duck=") | rtrimstr("s") | tonumber) as $lameDuck
    | (.readinessProbe.failureThreshold > 1) and (.readinessProbe.timeoutSeconds > 1)
      and (.readinessProbe.failureThreshold * .readinessProbe.periodSeconds < $lameDuck)
      and (.livenessProbe.failureThreshold * .livenessProbe.periodSeconds >= 60) and (.livenessProbe.timeoutSeconds > 1)'
}

@test "replicas that are not ready may be evicted" {
  policy() { objects "$1" | jq -r '.[] | select(.kind == "PodDisruptionBudget").spec.unhealthyPodEvictionPolicy'; }
  [ "$(policy 1.35.0)" = AlwaysAllow ]
  [ "$(policy 1.27.0)" = AlwaysAllow ]
  [ "$(policy 1.26.0)" = null ]
}

@test "Helm 4 renders what Helm 3 does" {
  need helm4
  render 1.35.0 --set networkPolicy.enabled=true >"$BATS_TEST_TMPDIR/three"
  helm() { helm4 "$@"; }
  render 1.35.0 --set networkPolicy.enabled=true | diff -B "$BATS_TEST_TMPDIR/three" -
}
