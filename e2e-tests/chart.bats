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
    | [.namespaceSelector, (.matchConditions | map(select(.name == "namespace-is-not-excluded").expression))]]')
  echo "$conditions"
  [ "$conditions" = '[[null,["!(request.namespace in [\"own\"])"]],[null,["!(request.namespace in [\"kube-system\",\"own\"])"]],[null,["!(request.namespace in [\"kube-system\",\"own\"])"]]]' ]
}

@test "mirror pods are shown without the webhook" {
  conditions=$(objects 1.35.0 | jq -c '[.[] | select(.kind == "MutatingWebhookConfiguration").webhooks[]
    | [.rules[0].resources[0], [.matchConditions[].name | select(. == "pod-is-not-a-mirror")]]]')
  echo "$conditions"
  [ "$(jq -c '[.[] | select(.[0] == "pods")] | map(.[1])' <<<"$conditions")" = '[["pod-is-not-a-mirror"],["pod-is-not-a-mirror"]]' ]
  [ "$(jq -c '[.[] | select(.[0] != "pods")] | map(.[1])' <<<"$conditions")" = '[[]]' ]
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
  for labels in podLabels commonLabels; do
    refused "$labels must not have azure.workload.identity/use" --set-string "$labels.azure\\.workload\\.identity/use=true"
  done
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

# The Deployment's pod template.
pod_template() { objects 1.35.0 "$@" | jq -c '.[] | select(.kind == "Deployment").spec.template'; }

@test "security contexts name no user, and null removes a key" {
  pod_template | jq -e '[.spec.securityContext, .spec.containers[0].securityContext | has("runAsUser") or has("runAsGroup")] == [false, false]
    and .spec.securityContext.runAsNonRoot'
  pod_template --set podSecurityContext.seccompProfile=null --set securityContext.readOnlyRootFilesystem=null |
    jq -e '.spec.securityContext == {runAsNonRoot: true} and (.spec.containers[0].securityContext | has("readOnlyRootFilesystem") | not)'
}

@test "on the host's network the ports move, and a rollout frees them first" {
  pod_template --set hostNetwork=true --set healthAddr=:19440 --set metricsAddr=:18095 --set service.targetPort=19443 |
    jq -e '.spec.hostNetwork and .spec.dnsPolicy == "ClusterFirstWithHostNet"
      and ([.spec.containers[0].ports[].containerPort] == [19443, 18095, 19440])
      and (.spec.containers[0].args | index("--health-addr=:19440") and index("--metrics-addr=:18095") and index("--webhook-addr=:19443"))'
  objects 1.35.0 --set hostNetwork=true | jq -e '.[] | select(.kind == "Deployment").spec.strategy.rollingUpdate == {maxSurge: 0, maxUnavailable: 1}'
  objects 1.35.0 --set strategy.type=Recreate | jq -e '.[] | select(.kind == "Deployment").spec.strategy == {type: "Recreate"}'
  pod_template | jq -e '.spec | has("dnsPolicy") or has("hostNetwork") | not'
}

@test "common labels are on every object and pod, and in no selector" {
  objects 1.35.0 --set commonLabels.team=x --set serviceMonitor.enabled=true --set networkPolicy.enabled=true --set autoscaling.enabled=true |
    jq -e '(map(select(.metadata.labels.team != "x") | .kind) == [])
      and (.[] | select(.kind == "Deployment").spec.template.metadata.labels.team == "x")
      and ([.. | (.selector? // .podSelector? // .labelSelector?) | objects | (.matchLabels // .) | .team?] | map(select(. != null)) == [])'
}

@test "labels of the user do not replace those of the selector" {
  objects 1.35.0 --set commonLabels.app=x --set podLabels.release=y --set 'commonLabels.app\.kubernetes\.io/version=z' |
    jq -e '(map(select(.metadata.labels.app == "x" or .metadata.labels["app.kubernetes.io/version"] == "z")) == [])
      and (.[] | select(.kind == "Deployment").spec | . as $spec | .selector.matchLabels | to_entries
        | all(.value == $spec.template.metadata.labels[.key]))'
}

@test "two ports that are the same are refused" {
  local must="service.targetPort, metricsAddr and healthAddr must have different ports"
  refused "$must, but have 9443, 9443, 9440" --set metricsAddr=:9443
  refused "$must" --set healthAddr=0.0.0.0:8095
}

@test "probes take single fields, and null removes one" {
  pod_template --set readinessProbe.periodSeconds=5 --set livenessProbe.failureThreshold=null |
    jq -e '.spec.containers[0] | .readinessProbe.periodSeconds == 5 and .readinessProbe.timeoutSeconds == 3
      and (.livenessProbe | has("failureThreshold") | not)'
}

@test "an image by its digest" {
  local digest=sha256:0000000000000000000000000000000000000000000000000000000000000000
  pod_template --set image.digest=$digest | jq -e --arg digest "$digest" '.spec.containers[0].image | endswith("azwi-webhook@" + $digest)'
  refused "/image/digest" --set image.digest=latest
}

@test "a drained node takes one replica, and a budget blocks no drain" {
  pod_template | jq -e '.spec.topologySpreadConstraints[0] | .whenUnsatisfiable == "DoNotSchedule" and .nodeTaintsPolicy == "Honor"
    and .matchLabelKeys == ["pod-template-hash"]'
  budget() { objects 1.35.0 "$@" | jq -c '.[] | select(.kind == "PodDisruptionBudget").spec | {minAvailable, maxUnavailable}'; }
  [ "$(budget --set replicaCount=1)" = '{"minAvailable":null,"maxUnavailable":1}' ]
  # Upstream's values still count.
  [ "$(budget --set podDisruptionBudget.minAvailable=1)" = '{"minAvailable":1,"maxUnavailable":null}' ]
}

@test "null turns off what can be turned off" {
  local value kinds
  for value in podDisruptionBudget autoscaling resourceQuota networkPolicy serviceMonitor; do
    kinds=$(objects 1.35.0 --set "$value=null" | jq -c '[.[].kind] | map(select(IN("PodDisruptionBudget", "ResourceQuota", "Deployment")))')
    case $value in
      podDisruptionBudget) [ "$kinds" = '["ResourceQuota","Deployment"]' ] ;;
      resourceQuota) [ "$kinds" = '["PodDisruptionBudget","Deployment"]' ] ;;
      *) [ "$kinds" = '["ResourceQuota","PodDisruptionBudget","Deployment"]' ] ;;
    esac
  done
  [ "$(objects 1.35.0 --set priorityClassName=null | jq '[.[] | select(.kind == "ResourceQuota" or .spec.template.spec.priorityClassName?)] | length')" = 0 ]
  pod_template --set hostNetwork=null | jq -e '.spec | has("hostNetwork") or has("dnsPolicy") | not'
  objects 1.35.0 --set excludedNamespaces=null >/dev/null
}

@test "a quota allows the system's priority class outside of kube-system" {
  quota() { objects 1.35.0 "$@" | jq -c '[.[] | select(.kind == "ResourceQuota").spec.scopeSelector.matchExpressions[0].values]'; }
  [ "$(quota)" = '[["system-cluster-critical"]]' ]
  [ "$(quota --set priorityClassName=mine)" = '[]' ]
  [ "$(quota --set resourceQuota.enabled=false)" = '[]' ]
  [ "$(quota --namespace kube-system)" = '[]' ]
}

@test "names outside of namespaces move, to run beside another installation" {
  objects 1.35.0 --set webhookConfiguration.name=mine --set clusterRole.name=my-role | jq -e '
    ([.[] | select(.kind | test("^Mutating|^ClusterRole")).metadata.name] | sort) == ["mine", "my-role", "my-rolebinding"]
    and (.[] | select(.kind == "ClusterRole").rules[1].resourceNames == ["mine"])
    and (.[] | select(.kind == "ClusterRoleBinding").roleRef.name == "my-role")
    and (.[] | select(.kind == "Deployment").spec.template.spec.containers[0].args | index("--webhook-configuration=mine") != null)'
}

@test "a parent chart switches it on and off, and passes globals" {
  local parent=$BATS_TEST_TMPDIR/parent
  write_parent_chart "$parent"
  kinds() { helm template parent "$parent" --kube-version 1.35.0 --set azure-workload-identity-webhook.azureTenantID=contoso.example \
    --set global.team=x "$@" | grep -c '^kind:' || true; }
  [ "$(kinds --set azure-workload-identity-webhook.enabled=true)" -gt 5 ]
  [ "$(kinds --set azure-workload-identity-webhook.enabled=false)" -eq 0 ]
}

@test "the service monitor is what Prometheus operators select" {
  objects 1.35.0 --set serviceMonitor.enabled=true --set serviceMonitor.namespace=monitoring --set serviceMonitor.additionalLabels.release=prometheus \
    --set serviceMonitor.scrapeTimeout=5s --set 'serviceMonitor.relabelings[0].action=labelmap' --set 'serviceMonitor.metricRelabelings[0].action=drop' |
    jq -e '.[] | select(.kind == "ServiceMonitor") | .metadata.namespace == "monitoring" and .metadata.labels.release == "prometheus"
      and .spec.namespaceSelector.matchNames == ["own"] and .spec.endpoints[0].scrapeTimeout == "5s"
      and .spec.endpoints[0].relabelings[0].action == "labelmap" and .spec.endpoints[0].metricRelabelings[0].action == "drop"'
}

@test "Helm 4 renders what Helm 3 does" {
  need helm4
  render 1.35.0 --set networkPolicy.enabled=true >"$BATS_TEST_TMPDIR/three"
  helm() { helm4 "$@"; }
  render 1.35.0 --set networkPolicy.enabled=true | diff -B "$BATS_TEST_TMPDIR/three" -
}
