#!/usr/bin/env bats
# The chart and the webhook on a real cluster, prepared by `run` in this folder.

bats_require_minimum_version 1.5.0

system=azure-workload-identity-system
demo=azure-wi-demo
load helpers

setup_file() {
  kubectl create namespace "$system"
  # As the static manifests have it.
  kubectl label namespace "$system" pod-security.kubernetes.io/enforce=restricted
  local start end
  start=$(date +%s%N)
  helm_webhook install
  available 60s
  end=$(date +%s%N)
  echo "$(((end - start) / 1000000))" >"$BATS_FILE_TMPDIR/install-ms"
  kubectl create namespace "$demo"
}

teardown_file() {
  kubectl delete namespace "$demo"
  helm uninstall azwi --namespace "$system"
  kubectl delete namespace "$system" --wait=false
}

@test "from helm install to Available in at most 10 seconds" {
  milliseconds=$(cat "$BATS_FILE_TMPDIR/install-ms")
  echo "# install to Available: $milliseconds ms" >&3
  [ "$milliseconds" -le 10000 ]
}

@test "the walk-through ends with a container that has its variables and its token" {
  demo_runs_with_its_identity
}

@test "a service account made a moment before its pod counts" {
  for number in $(seq 10); do
    demo_account "fresh-$number" "00000000-0000-0000-0000-0000000000$(printf %02d "$number")" >/dev/null
    [ "$(pod_dry_run "fresh-$number" | client_id_of)" = "00000000-0000-0000-0000-0000000000$(printf %02d "$number")" ]
  done
}

@test "a changed annotation counts" {
  demo_account changed "$client"
  demo_account changed 00000000-0000-0000-0000-00000000000a
  is_changed() { [ "$(pod_dry_run changed | client_id_of)" = 00000000-0000-0000-0000-00000000000a ]; }
  eventually is_changed
}

@test "an account annotated right before its pod counts, a hundred times" {
  for number in $(seq 100); do
    kubectl -n "$demo" create serviceaccount "late-$number" >/dev/null
    kubectl -n "$demo" annotate serviceaccount "late-$number" "azure.workload.identity/client-id=$client" >/dev/null
    [ "$(pod_dry_run "late-$number" 2>/dev/null | client_id_of)" = "$client" ] || { echo "not the pod of late-$number"; return 1; }
  done
}

@test "a static pod is shown by its mirror pod, whatever the labels say" {
  local folder=${CLUSTER_STATE:-/tmp/azwi-cluster}/static-pods
  [ -d "$folder" ] || skip "only on a cluster of its own"
  kubectl -n "$demo" label --overwrite serviceaccount default azure.workload.identity/use=true
  kubectl -n "$demo" annotate --overwrite serviceaccount default "azure.workload.identity/client-id=$client"
  cat >"$folder/shown.yaml" <<Y
apiVersion: v1
kind: Pod
metadata: {name: shown, namespace: $demo, labels: {azure.workload.identity/use: "true"}}
spec: {containers: [{name: c, image: "$WORKLOAD_IMAGE", imagePullPolicy: Never}]}
Y
  eventually kubectl -n "$demo" get pod shown-node
  rm "$folder/shown.yaml"
  kubectl -n "$demo" label serviceaccount default azure.workload.identity/use-
  kubectl -n "$demo" annotate serviceaccount default azure.workload.identity/client-id-
  eventually is_gone shown-node
}

is_gone() { ! kubectl -n "$demo" get pod "$1" >/dev/null 2>&1; }

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

@test "a caBundle that somebody edited is healed" {
  kubectl patch mutatingwebhookconfiguration "$configuration" --type=json \
    -p '[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]'
  is_healed() { [ -n "$(kubectl get mutatingwebhookconfiguration "$configuration" -o jsonpath='{.webhooks[0].clientConfig.caBundle}')" ]; }
  eventually is_healed
  demo_account healed "$client"
  eventually gets_identity healed
}

# Creates pods under load during an event; no more than MAY_REFUSE (0) may be refused, and all others get their identity. RATE is
# the number of creations a second.
under_load() {
  demo_account load "$client" >/dev/null
  "$ADMISSION_LOAD" --namespace "$demo" --service-account load --rate "${RATE:-40}" --seconds "$1" \
    --may-refuse "${MAY_REFUSE:-0}" 3>&- >"$BATS_TEST_TMPDIR/load" &
  local load=$!
  sleep 2
  "${@:2}"
  kill -0 "$load" || { echo "the load ended before what it is there for"; return 1; }
  wait "$load" || { cat "$BATS_TEST_TMPDIR/load"; return 1; }
  echo "# $(tail -n 1 "$BATS_TEST_TMPDIR/load")" >&3
}

restart() {
  eventually kubectl -n "$system" rollout restart deployment/azure-wi-webhook-controller-manager
  available 90s
}

@test "five rolling restarts under 40 creations a second lose none" {
  five_restarts() { for _ in 1 2 3 4 5; do restart; done; }
  under_load 100 five_restarts
}

take_all_the_cpu() {
  burners=()
  for _ in $(seq "$(nproc)"); do
    # They end by themselves even if the test fails.
    timeout 60 sh -c 'while :; do :; done' 3>&- &
    burners+=($!)
  done
}

# On a slow machine the API server cannot keep up; then at most 200 creations wait for their answer at a time, so that none waits
# for the webhook's whole timeout.
@test "200 creations a second beside processes that take all the CPU lose none, and no replica leaves the Service" {
  available 60s
  timeout 90 kubectl -n "$system" get endpointslices -l kubernetes.io/service-name=azure-wi-webhook-webhook-service -o json --watch \
    3>&- 2>/dev/null >"$BATS_TEST_TMPDIR/slices" &
  local watch=$!
  # A line at every change: how many addresses there are, and whether all are ready.
  addresses() { jq -c '.endpoints | [length, all(.conditions.ready)]' "$BATS_TEST_TMPDIR/slices"; }
  has_two() { [ "$(addresses | tail -n 1)" = "[2,true]" ]; }
  eventually has_two
  local before
  before=$(addresses | wc -l)
  RATE=200 under_load 15 take_all_the_cpu
  kill "${burners[@]}"
  kill "$watch" || { echo "the watch ended early"; return 1; }
  [ -z "$(addresses | tail -n "+$((before + 1))" | grep -vxF '[2,true]')" ]
}

two_are_ready() {
  [ "$(kubectl -n "$system" get pods -l app=workload-identity-webhook -o json \
    | jq '[.items[] | select(.status.conditions[]? | .type == "Ready" and .status == "True")] | length')" -ge 2 ]
}

# The kubelet kills such a replica after a second, which can be sooner than kube-proxy sends its connections elsewhere. Each of
# the five deletions may break the one request that is on its way then.
@test "five forced deletions of a replica under 40 creations a second lose at most five" {
  five_deletions() {
    local pod
    for _ in 1 2 3 4 5; do
      pod=$(kubectl -n "$system" get pods -l app=workload-identity-webhook --field-selector=status.phase=Running \
        -o jsonpath='{.items[0].metadata.name}')
      kubectl -n "$system" delete pod "$pod" --force --grace-period=0 2>/dev/null
      # The Deployment's status may be outdated; without this, the other replica would be next.
      eventually two_are_ready
      available 60s
    done
  }
  MAY_REFUSE=5 under_load 30 five_deletions
}

replicas_are_two() { [ "$(kubectl -n "$system" get pods -l app=workload-identity-webhook --no-headers | wc -l)" -eq 2 ]; }

authorities_written() {
  kubectl -n "$system" logs -l app=workload-identity-webhook --tail=-1 | grep -c 'certificate authority written'
}

@test "certificate authorities that change every few seconds, and a deleted Secret, lose no creation" {
  # The deleted one is created again, and has changed at least twice since.
  changed_twice() { [ "$(authorities_written)" -ge 3 ]; }
  rotate() {
    helm_webhook upgrade --reuse-values --set-json \
      'extraArgs=["--ca-life=30s","--ca-overlap=3s","--leaf-life=10s","--cert-check-interval=1s"]'
    available 90s
    # An old replica that stops only now would write an authority that lasts a year.
    eventually replicas_are_two
    kubectl -n "$system" delete secret azure-wi-webhook-ca
    kubectl -n "$system" create secret generic azure-wi-webhook-ca
    eventually changed_twice
  }
  under_load 120 rotate
  echo "# certificate authority written $(authorities_written) times" >&3
}

@test "the webhook's own pods start without it, also when somebody labels them" {
  local deployment=deployment/azure-wi-webhook-controller-manager
  local label=/spec/template/metadata/labels/azure.workload.identity~1use
  demo_account nobody-answers "$client"
  kubectl -n "$system" scale "$deployment" --replicas=0
  kubectl -n "$system" wait --for=delete pod -l app=workload-identity-webhook --timeout=60s
  run ! pod_dry_run nobody-answers
  kubectl -n "$system" patch "$deployment" --type=json -p "[{\"op\": \"add\", \"path\": \"$label\", \"value\": \"true\"}]"
  kubectl -n "$system" scale "$deployment" --replicas=2
  available 60s
  eventually gets_identity nobody-answers
  kubectl -n "$system" patch "$deployment" --type=json -p "[{\"op\": \"remove\", \"path\": \"$label\"}]"
  available 90s
}

@test "the webhook may do what it needs, and nothing else" {
  # State left by a helm upgrade must not hide a missing permission, so everything starts again.
  helm_webhook upgrade --reuse-values --set-json 'extraArgs=[]'
  available 90s
  allowed() { kubectl auth can-i "$@" --as="system:serviceaccount:$system:azure-wi-webhook-admin" >/dev/null; }
  allowed get serviceaccounts -A
  allowed list serviceaccounts -A
  allowed watch serviceaccounts -A
  allowed get "mutatingwebhookconfigurations/$configuration"
  allowed patch "mutatingwebhookconfigurations/$configuration"
  allowed get secrets/azure-wi-webhook-ca -n "$system"
  allowed update secrets/azure-wi-webhook-ca -n "$system"
  run ! allowed get secrets/other -n "$system"
  run ! allowed list secrets -n "$system"
  run ! allowed create secrets -n "$system"
  run ! allowed get mutatingwebhookconfigurations/other
  run ! allowed update "mutatingwebhookconfigurations/$configuration"
  run ! allowed get secrets/azure-wi-webhook-ca -n "$demo"
  run ! allowed get pods -A
}

# Removes one verb from a role, restarts the replicas, runs something that needs it, and waits for the error.
missed() {
  local role=$1 rule=$2 verb=$3 complaint=$4 namespace=()
  [ "$role" = clusterrole ] || namespace=(-n "$system")
  local path="/rules/$rule/verbs" name=azure-wi-webhook-manager-role verbs fewer
  verbs=$(kubectl "${namespace[@]}" get "$role" "$name" -o json | jq -c ".rules[$rule].verbs")
  fewer=$(jq -c --arg verb "$verb" 'map(select(. != $verb))' <<<"$verbs")
  kubectl "${namespace[@]}" patch "$role" "$name" --type=json \
    -p "[{\"op\": \"replace\", \"path\": \"$path\", \"value\": $fewer}]" >/dev/null
  # kubectl refuses two restarts within a second.
  eventually kubectl -n "$system" rollout restart deployment/azure-wi-webhook-controller-manager >/dev/null
  complained() {
    {
      "${@:-true}" 2>&1
      # A replica that has not started yet has no log; there may be several old ones besides the new one.
      kubectl -n "$system" logs -l app=workload-identity-webhook --tail=-1 --max-log-requests=20 --ignore-errors 2>/dev/null
    } | grep "$complaint" >/dev/null
  }
  local result=0
  eventually complained "${@:5}" || { result=1; kubectl -n "$system" logs -l app=workload-identity-webhook --tail=20; }
  kubectl "${namespace[@]}" patch "$role" "$name" --type=json \
    -p "[{\"op\": \"replace\", \"path\": \"$path\", \"value\": $verbs}]" >/dev/null
  return $result
}

@test "without any one permission the webhook does not do its work" {
  empty_secret() { kubectl -n "$system" patch secret azure-wi-webhook-ca --type=json -p '[{"op": "remove", "path": "/data"}]'; }
  spoilt_bundle() {
    kubectl patch mutatingwebhookconfiguration "$configuration" --type=json \
      -p '[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]'
  }
  missed clusterrole 0 list 'cannot list resource .*serviceaccounts'
  missed clusterrole 0 watch 'is there the permission to watch serviceaccounts'
  missed clusterrole 0 get 'serviceaccounts "nobody" is forbidden' deployment_dry_run nobody
  missed clusterrole 1 get 'cannot get resource .*mutatingwebhookconfigurations'
  missed clusterrole 1 patch 'cannot \(patch\|update\) resource .*mutatingwebhookconfigurations' spoilt_bundle
  missed role 0 get 'cannot get resource .*secrets'
  missed role 0 update 'cannot update resource .*secrets' empty_secret
  eventually kubectl -n "$system" rollout restart deployment/azure-wi-webhook-controller-manager
  available 90s
}
