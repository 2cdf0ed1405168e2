#!/usr/bin/env bats
# The policy is the same bytes wherever it is built.

load helpers

setup() {
  cd "$BATS_TEST_DIRNAME/.."
}

@test "the policy built in another folder is the same bytes" {
  [ -f policy.wasm ] || skip "policy.wasm is not built"
  target=${CARGO_TARGET_DIR:-$PWD/target}
  elsewhere=$BATS_TEST_TMPDIR/a-folder-with-another-name
  mkdir --parents "$elsewhere/target"
  git ls-files -z | tar --create --null --files-from=- | tar --extract --directory="$elsewhere"
  # Takes over what is built from the registry, which is in one folder anyway, and nothing else.
  cp --archive "$target/wasm" "$target/wasm32-wasip1" "$elsewhere/target"
  cd "$elsewhere"
  unset CARGO_TARGET_DIR MAKEFLAGS
  cargo clean --quiet --profile wasm --target wasm32-wasip1 -p azwi-json -p azwi-mutation -p azure-workload-identity-policy
  run make policy.wasm
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *"Compiling azwi-mutation"*"$elsewhere"* ]]
  cmp "$BATS_TEST_DIRNAME/../policy.wasm" policy.wasm
}
