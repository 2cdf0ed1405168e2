#!/usr/bin/env bats
# All commands that the documentation tells users to paste: run here if possible, otherwise only checked (see
# docs/stand-ins.bash).

bats_require_minimum_version 1.5.0
load helpers

setup() {
  cd "$BATS_TEST_DIRNAME/.."
  export ROOT=$PWD
}

# Runs a document's console blocks in order, in a copy of the files they use.
commands_of() {
  local folder=$BATS_TEST_TMPDIR/copy
  mkdir -p "$folder/e2e-tests"
  cp -r charts deploy "$folder"
  cp -r e2e-tests/fixtures "$folder/e2e-tests"
  cp crates/demo/manifests/service-account.yaml "$folder/sa.yaml"
  cp crates/demo/manifests/azure-wi-demo.yaml "$folder/deployment.yaml"
  echo 'replicaCount: 3' >"$folder/platform.yaml"
  [ ! -e annotated-policy.wasm ] || cp annotated-policy.wasm "$folder"
  e2e-tests/docs/commands "$1" >"$folder/commands"
  [ -s "$folder/commands" ]
  cat "$folder/commands"
  run --separate-stderr bash -c 'cd "$1" && source "$ROOT/e2e-tests/docs/stand-ins.bash" && set -euo pipefail && source ./commands' - "$folder"
  echo "stdout = $output" ; echo "stderr = $stderr"
  [ "$status" -eq 0 ]
}

@test "README: the demo shows the variables, kwctl prints the patch" {
  need kubectl kwctl jq
  commands_of README.md
  [[ $output == *'AZURE_CLIENT_ID'* ]]
  [[ $output == *'"path": "/spec/volumes/1"'* ]]
}

@test "docs/kubewarden.md" {
  need kubectl
  commands_of docs/kubewarden.md
  # The sample renders.
  [[ $output == *'kind: PolicyServer'* ]]
}

@test "docs/webhook.md: chart, manifests, inject" {
  need kubectl helm envsubst
  commands_of docs/webhook.md
  [[ $output == *'AZURE_FEDERATED_TOKEN_FILE'* ]]
}

@test "docs/migration.md" {
  need kubectl helm envsubst
  commands_of docs/migration.md
}

@test "docs/security.md" {
  commands_of docs/security.md
}

@test "docs/platforms.md: installs with each block of values" {
  need helm
  commands_of docs/platforms.md
  [[ $output == *'replicas: 3'* ]]
  awk -v folder="$BATS_TEST_TMPDIR" '
    /^```yaml$/ { block = sprintf("%s/%02d.yaml", folder, ++blocks); next }
    /^```$/ { block = "" }
    block { print >block }' docs/platforms.md
  blocks=0
  for values in "$BATS_TEST_TMPDIR"/*.yaml; do
    cat "$values"
    helm template release charts/azure-workload-identity-webhook --namespace own --kube-version 1.37.0 \
      --set azureTenantID=contoso.example --values "$values" >/dev/null
    blocks=$((blocks + 1))
  done
  [ "$blocks" -eq "$(grep -c '^```yaml$' docs/platforms.md)" ]
}

@test "no document with commands is left out" {
  for file in README.md CONTRIBUTING.md docs/*.md; do
    [ -z "$(e2e-tests/docs/commands "$file")" ] || grep -q "commands_of $file" "$BATS_TEST_FILENAME" || { echo "no test for $file"; false; }
  done
}

@test "commands in running text are well-formed, and make knows its targets" {
  source e2e-tests/docs/stand-ins.bash
  need kubectl
  for file in README.md CONTRIBUTING.md docs/*.md; do
    while read -r command; do
      echo "$file: $command"
      bash -n <<<"$command"
      case $command in
        "make "*) make --dry-run --silent -C "$ROOT" "$(cut -d' ' -f2 <<<"$command")" >/dev/null ;;
        "kubectl "*) eval "kubectl ${command#kubectl }" </dev/null ;;
      esac
    done < <(e2e-tests/docs/commands --inline "$file")
  done
}

@test "links between documents lead somewhere" {
  for file in README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md docs/*.md e2e-tests/*/README.md; do
    while read -r link; do
      target=$(dirname "$file")/${link%%#*}
      [ -e "$target" ] || { echo "$file: $link"; false; }
      case $link in
        *.md#*) # A heading, converted to its anchor.
          sed -n 's/^##* *//p' "$target" | tr 'A-Z' 'a-z' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g' | grep -qx "${link#*#}" ||
            { echo "$file: no heading for $link"; false; } ;;
      esac
    done < <(grep -oE '\]\([^)#:]+(#[^)]*)?\)' "$file" | sed -E 's/^\]\(|\)$//g')
  done
}
