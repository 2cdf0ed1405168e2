#!/usr/bin/env bats
# The policy under the real policy-server, with policies.yml as shipped, reading service accounts from an API endpoint.

bats_require_minimum_version 1.5.0
load helpers

# The shipped policies with this build, and each way to misconfigure them.
policies() {
  sed -e "s|module: .*|module: file://$PWD/annotated-policy.wasm|" -e "s|tenantId: .*|tenantId: 72f988bf-86f1-41ef-91ab-2d7cd011db47|" \
    deploy/kubewarden/policies.yml
  local policy
  policy() {
    printf '%s:\n  module: file://%s/annotated-policy.wasm\n  settings: {tenantId: 72f988bf-86f1-41ef-91ab-2d7cd011db47}\n' "$1" "$PWD"
    printf '  %s\n' "${@:2}"
  }
  local accounts='contextAwareResources: [{apiVersion: v1, kind: ServiceAccount}]' host='hostCapabilities: [kubernetes/get_resource]'
  policy monitored 'policyMode: monitor' 'allowedToMutate: true' "$accounts" "$host"
  policy without-mutation "$accounts" "$host"
  policy without-accounts 'allowedToMutate: true' "$host"
  policy without-capability 'allowedToMutate: true' "$accounts"
}

setup_file() {
  cd "$BATS_TEST_DIRNAME/.."
  [ -z "$(missing policy-server kwctl jq curl)" ] || return 0
  # A backtrace would appear in the messages of host errors.
  export RUST_BACKTRACE=0 SERVER
  SERVER=http://127.0.0.1:$(free_port)
  local folder=$BATS_FILE_TMPDIR
  "${CARGO_TARGET_DIR:-target}/debug/api_server" --service-accounts crates/demo/manifests/service-account.yaml --forbidden forbidden \
    --slow slow --kubeconfig "$folder/kubeconfig" >"$folder/api-server.log" 2>&1 3>&- &
  echo $! >"$folder/pids"
  eventually test -s "$folder/kubeconfig"
  policies >"$folder/policies.yml"
  KUBECONFIG=$folder/kubeconfig policy-server --addr 127.0.0.1 --port "${SERVER##*:}" --readiness-probe-port "$(free_port)" \
    --policies "$folder/policies.yml" --policies-download-dir "$folder" >"$folder/policy-server.log" 2>&1 3>&- &
  echo $! >>"$folder/pids"
  # It listens once all policies are loaded.
  eventually curl --silent --output /dev/null "$SERVER/validate/azure-workload-identity"
}

teardown_file() {
  [ ! -e "$BATS_FILE_TMPDIR/pids" ] || xargs kill <"$BATS_FILE_TMPDIR/pids"
}

setup() {
  cd "$BATS_TEST_DIRNAME/.."
  need policy-server kwctl jq curl
}

# The policy server's response to a fixture's request, after an optional change to the request; the patch decoded.
response() {
  local policy=$1 request=e2e-tests/fixtures/$2/request.json change=${3:-.}
  jq "{apiVersion: \"admission.k8s.io/v1\", kind: \"AdmissionReview\", request: ($change)}" "$request" |
    curl --silent --show-error --fail-with-body --max-time 20 -H 'Content-Type: application/json' -d @- "$SERVER/validate/$policy" |
    jq '.response | if .patch then .patch |= (@base64d | fromjson) else . end'
}

account() { echo ".object.spec.serviceAccountName = \"$1\" | .object.spec.serviceAccount = \"$1\""; }

# Whether a response is the fixture's; policy-server omits null fields.
is_recorded() {
  diff <(jq -S 'del(..|nulls)' "e2e-tests/fixtures/$1/response.json") <(jq -S 'del(..|nulls)' <<<"$2")
}

denied() {
  echo "$1"
  [ "$(jq '[.allowed, .status.code]' -c <<<"$1")" = "[false,$2]" ]
  [[ $(jq -r .status.message <<<"$1") == *"$3"* ]]
}

@test "labelled pod: mutated" {
  is_recorded labelled-pod "$(response azure-workload-identity labelled-pod)"
}

@test "pod of a labelled service account: mutated" {
  is_recorded labelled-service-account "$(response azure-workload-identity-service-accounts labelled-service-account)"
}

@test "update: untouched" {
  is_recorded update "$(response azure-workload-identity update)"
}

@test "token expiration out of bounds: denied" {
  is_recorded token-expiration-out-of-bounds "$(response azure-workload-identity token-expiration-out-of-bounds)"
}

@test "deployment: untouched, told what its pods will be told" {
  is_recorded deployment "$(response azure-workload-identity-advice deployment)"
}

@test "forbidden: labelled pod denied, with the missing permission named" {
  denied "$(response azure-workload-identity labelled-pod "$(account forbidden)")" 500 \
    "the policy server's own service account is not allowed to get serviceaccounts"
}

@test "forbidden: another pod admitted with a warning" {
  answer=$(response azure-workload-identity-service-accounts labelled-service-account "$(account forbidden)")
  echo "$answer"
  [ "$(jq -c '[.allowed, .patch, (.warnings | length)]' <<<"$answer")" = '[true,null,1]' ]
  [[ $(jq -r '.warnings[0]' <<<"$answer") == AZWI011* ]]
}

@test "service account not found: labelled pod denied" {
  denied "$(response azure-workload-identity labelled-pod "$(account missing)")" 404 missing
}

@test "service account not found: another pod admitted as it is" {
  [ "$(response azure-workload-identity-service-accounts labelled-service-account "$(account missing)" | jq -c '[.allowed, .patch]')" = '[true,null]' ]
}

@test "policy without contextAwareResources: labelled pod denied, and told so" {
  denied "$(response without-accounts labelled-pod)" 500 "the policy is missing contextAwareResources: v1 ServiceAccount"
}

@test "policy without hostCapabilities: labelled pod denied, and told so" {
  denied "$(response without-capability labelled-pod)" 500 "the policy is missing hostCapabilities: kubernetes/get_resource"
}

@test "policy that may not mutate: labelled pod denied by the policy server" {
  answer=$(response without-mutation labelled-pod)
  echo "$answer"
  [ "$(jq .allowed <<<"$answer")" = false ]
  [[ $(jq -r .status.message <<<"$answer") == *"not allow mutations"* ]]
}

@test "policy in monitor mode: labelled pod admitted as it is" {
  [ "$(response monitored labelled-pod | jq -c '[.allowed, .patch]')" = '[true,null]' ]
}

@test "an API server slower than the policy's time: labelled pod denied" {
  denied "$(response azure-workload-identity labelled-pod "$(account slow)")" 500 "exceeded the allowed execution time"
}
