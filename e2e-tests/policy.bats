#!/usr/bin/env bats
# The policy under the real kwctl: recorded requests and sessions against recorded responses (e2e-tests/fixtures/). The
# embedded host answers the same folders in e2e-tests/tests/fixtures.rs.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  cd "$BATS_TEST_DIRNAME/.."
  need kwctl jq
  policy=annotated-policy.wasm
  # A backtrace would appear in the messages of host errors.
  export RUST_BACKTRACE=0
}

# Runs the policy on a fixture; its answer, with the patch decoded, must be the recorded one, with exactly the recorded
# lookups.
answers() {
  local folder=e2e-tests/fixtures/$1
  run --separate-stderr kwctl run "$policy" --request-path "$folder/request.json" --settings-path "$folder/settings.json" \
    --allow-context-aware --replay-host-capabilities-interactions "$folder/session.yaml"
  echo "stdout = $output" ; echo "stderr = $stderr"
  [ "$status" -eq 0 ]
  [[ $stderr != *"have not been replayed"* ]]
  diff <(jq -S . "$folder/response.json") \
    <(jq -S 'if .patch then .patch |= (@base64d | fromjson) else . end' <<<"$output")
}

@test "labelled pod: four variables, mount and volume" { answers labelled-pod; }
@test "labelled service account opts its pods in" { answers labelled-service-account; }
@test "nobody opted in: untouched" { answers nobody-opted-in; }
@test "opt-in by pod: an unlabelled pod costs no lookup" { answers opt-in-pod-unlabelled; }
@test "update: untouched, no lookup" { answers update; }
@test "missing service account: labelled pod denied" { answers service-account-missing; }
@test "forbidden lookup: labelled pod denied, retryable" { answers service-account-forbidden; }
@test "forbidden lookup: unlabelled pod admitted with a warning" { answers service-account-forbidden-unlabelled; }
@test "no client id: warning" { answers no-client-id; }
@test "no client id where one is required: denied" { answers client-id-required; }
@test "token expiration out of bounds: denied in upstream's words" { answers token-expiration-out-of-bounds; }
@test "proxy sidecar" { answers proxy-sidecar; }
@test "layout reserved" { answers reserved-layout; }
@test "AKS identity binding in layout reserved-per-pod" { answers identity-binding; }
@test "deployment: never changed, told what its pods will be told" { answers deployment; }

@test "every fixture has a test here" {
  for folder in e2e-tests/fixtures/*/; do
    grep -q "answers $(basename "$folder");" "$BATS_TEST_FILENAME" || { echo "no test for $folder"; false; }
  done
}

@test "settings that are not valid are refused with key, value and remedy" {
  run --separate-stderr kwctl run "$policy" --request-path e2e-tests/fixtures/labelled-pod/request.json \
    --settings-json '{"tenantId": "contoso"}' --allow-context-aware \
    --replay-host-capabilities-interactions e2e-tests/fixtures/labelled-pod/session.yaml
  echo "stderr = $stderr"
  [ "$status" -ne 0 ]
  [[ $stderr == *'Provided settings are not valid: setting tenantId is "contoso"; it must be a tenant'* ]]
}

@test "a policy without access to service accounts denies a labelled pod and names what is missing" {
  run --separate-stderr kwctl run "$policy" --request-path e2e-tests/fixtures/labelled-pod/request.json \
    --settings-path e2e-tests/fixtures/labelled-pod/settings.json
  [ "$(jq .allowed <<<"$output")" = false ]
  [[ $output == *"the policy is missing contextAwareResources: v1 ServiceAccount"* ]]
}

@test "a policy without the host capability denies a labelled pod and names what is missing" {
  run --separate-stderr kwctl run "$policy" --request-path e2e-tests/fixtures/labelled-pod/request.json \
    --settings-path e2e-tests/fixtures/labelled-pod/settings.json --allow-context-aware \
    --allowed-host-capabilities 'oci/*' --replay-host-capabilities-interactions e2e-tests/fixtures/update/session.yaml
  [ "$(jq .allowed <<<"$output")" = false ]
  [[ $output == *"the policy is missing hostCapabilities: kubernetes/get_resource"* ]]
}

@test "with metadata and usage the policy stays below 235,000 bytes" {
  size=$(stat -c %s "$policy")
  echo "$size bytes"
  [ "$size" -le 235000 ]
}

@test "annotate has nothing to complain of" {
  run --separate-stderr kwctl annotate -m policy-metadata/metadata.yml -u README.md -o "$BATS_TEST_TMPDIR/annotated.wasm" policy.wasm
  echo "stderr = $stderr"
  [ "$status" -eq 0 ]
  [[ $stderr != *WARN* ]]
  cmp "$policy" "$BATS_TEST_TMPDIR/annotated.wasm"
}

@test "inspect shows the metadata" {
  run --separate-stderr kwctl inspect -o yaml "$policy"
  [ "$status" -eq 0 ]
  for line in 'mutating: true' 'backgroundAudit: false' 'kubernetes/get_resource' 'kind: ServiceAccount' \
    'protocolVersion: v1' 'io.kubewarden.policy.title: azure-workload-identity' 'io.kubewarden.policy.usage'; do
    [[ $output == *"$line"* ]] || { echo "missing: $line"; false; }
  done
}

@test "Artifact Hub is told what the metadata and the README say" {
  diff artifacthub/artifacthub-pkg.yml <(artifacthub/render package) || { echo "run: make artifacthub"; false; }
}
