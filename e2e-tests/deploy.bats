#!/usr/bin/env bats
# The manifests of deploy/kubewarden as users apply them: rendered by kustomize, run by kwctl on this build.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  cd "$BATS_TEST_DIRNAME/.."
  export RUST_BACKTRACE=0
  need kubectl jq kwctl
}

# One policy of the rendered sample, by name, with the locally built module.
policy() {
  kubectl kustomize deploy/kubewarden/sample >"$BATS_TEST_TMPDIR/all.yaml"
  awk -v RS='---\n' -v name="  name: $1\n" 'index($0, "kind: ClusterAdmissionPolicy") && index($0, name)' "$BATS_TEST_TMPDIR/all.yaml" |
    sed "s|module: .*|module: file://$PWD/annotated-policy.wasm|" >"$BATS_TEST_TMPDIR/policy.yaml"
  grep -c '^kind: ClusterAdmissionPolicy' "$BATS_TEST_TMPDIR/policy.yaml"
}

# Checks that a policy's answer to a fixture is the recorded one.
answers() {
  local folder=e2e-tests/fixtures/$2
  [ "$(policy "$1")" -eq 1 ]
  run --separate-stderr kwctl run "$BATS_TEST_TMPDIR/policy.yaml" --request-path "$folder/request.json" \
    --allow-context-aware --replay-host-capabilities-interactions "$folder/session.yaml"
  echo "stdout = $output" ; echo "stderr = $stderr"
  [ "$status" -eq 0 ]
  [[ $stderr != *"have not been replayed"* ]]
  diff <(jq -S . "$folder/response.json") <(jq -S 'if .patch then .patch |= (@base64d | fromjson) else . end' <<<"$output")
}

@test "the sample renders to a policy server, its permissions and three policies, all of the sample's tenant" {
  run --separate-stderr kubectl kustomize deploy/kubewarden/sample
  [ "$status" -eq 0 ]
  kinds=$(grep '^kind: ' <<<"$output" | sort | uniq -c | xargs)
  [ "$kinds" = "3 kind: ClusterAdmissionPolicy 1 kind: ClusterRole 1 kind: ClusterRoleBinding 1 kind: PolicyServer 1 kind: ServiceAccount" ]
  [ "$(grep -c 'tenantId: 72f988bf-86f1-41ef-91ab-2d7cd011db47' <<<"$output")" -eq 3 ]
}

@test "policy for labelled pods" { answers azure-workload-identity labelled-pod; }
@test "policy for pods of labelled service accounts" { answers azure-workload-identity-service-accounts labelled-service-account; }
@test "policy that advises on workload objects" { answers azure-workload-identity-advice deployment; }

@test "the base without a tenant is refused, and says what is missing" {
  for file in base/labelled-pods.yaml base/service-accounts.yaml advice/workload-objects.yaml; do
    sed "s|module: .*|module: file://$PWD/annotated-policy.wasm|" "deploy/kubewarden/$file" >"$BATS_TEST_TMPDIR/policy.yaml"
    run --separate-stderr kwctl run "$BATS_TEST_TMPDIR/policy.yaml" --request-path e2e-tests/fixtures/update/request.json \
      --allow-context-aware --replay-host-capabilities-interactions e2e-tests/fixtures/update/session.yaml
    echo "$stderr"
    [ "$status" -ne 0 ]
    [[ $stderr == *'setting tenantId is ""; it must be a tenant'* ]]
  done
}
