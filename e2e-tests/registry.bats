#!/usr/bin/env bats
# Publishes to a real OCI registry on the loopback, and checks the pulled result.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
  cd "$BATS_TEST_DIRNAME/.."
  [ -z "$(missing kwctl docker-registry jq curl)" ] || return 0
  local folder=$BATS_FILE_TMPDIR
  export HOST REFERENCE
  HOST=127.0.0.1:$(free_port)
  REFERENCE=registry://$HOST/azure-workload-identity:v0.1.0
  printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: %s}\n' "$folder" "$HOST" >"$folder/registry.yml"
  docker-registry serve "$folder/registry.yml" >"$folder/registry.log" 2>&1 3>&- &
  echo $! >"$folder/pid"
  eventually curl --silent --output /dev/null "http://$HOST/v2/"
  # Does not read or change any files of the user who runs the tests.
  export XDG_CONFIG_HOME=$folder/config XDG_CACHE_HOME=$folder/cache XDG_DATA_HOME=$folder/data DOCKER_CONFIG=$folder/docker
  mkdir -p "$XDG_CONFIG_HOME/kubewarden"
  printf 'insecure_sources: ["%s"]\n' "$HOST" >"$XDG_CONFIG_HOME/kubewarden/sources.yaml"
  make --no-print-directory publish REF="$REFERENCE" >"$folder/pushed" 2>"$folder/push.log" || { cat "$folder/push.log"; return 1; }
}

teardown_file() {
  [ ! -e "$BATS_FILE_TMPDIR/pid" ] || kill "$(cat "$BATS_FILE_TMPDIR/pid")"
}

setup() {
  cd "$BATS_TEST_DIRNAME/.."
  need kwctl docker-registry jq curl
}

manifest() {
  curl --silent --fail "$@" -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$HOST/v2/azure-workload-identity/manifests/v0.1.0"
}

@test "make publish prints the immutable reference" {
  digest=sha256:$(manifest | sha256sum | cut -d' ' -f1)
  diff <(echo "${REFERENCE%:v*}@$digest" | sed 's|^registry://||') <(tail -n 1 "$BATS_FILE_TMPDIR/pushed" | sed 's|^registry://||')
}

@test "kwctl digest gives the same" {
  run --separate-stderr kwctl digest "$REFERENCE"
  echo "$output $stderr"
  [[ $output == *"@sha256:$(manifest | sha256sum | cut -d' ' -f1)" ]]
}

@test "one layer of wasm, an empty config, the metadata as annotations" {
  manifest
  manifest -D "$BATS_TEST_TMPDIR/headers" >/dev/null
  grep -qix $'Content-Type: application/vnd.oci.image.manifest.v1+json\r' "$BATS_TEST_TMPDIR/headers"
  [ "$(manifest | jq -c '[.config.mediaType, .config.size]')" = '["application/vnd.wasm.config.v1+json",2]' ]
  [ "$(manifest | jq -c '[.layers[].mediaType]')" = '["application/vnd.wasm.content.layer.v1+wasm"]' ]
  [ "$(manifest | jq -r '.layers[0].digest')" = "sha256:$(sha256sum <annotated-policy.wasm | cut -d' ' -f1)" ]
  [ "$(manifest | jq -r '.annotations["io.kubewarden.policy.title"]')" = azure-workload-identity ]
  [ "$(manifest | jq -r '.annotations["org.opencontainers.image.source"]')" = "$(sed -n 's/^  io.kubewarden.policy.source: //p' policy-metadata/metadata.yml)" ]
}

@test "what is pulled is what was pushed" {
  run --separate-stderr kwctl pull "$REFERENCE" -o "$BATS_TEST_TMPDIR/pulled.wasm"
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  cmp annotated-policy.wasm "$BATS_TEST_TMPDIR/pulled.wasm"
}

@test "the published policy runs by its reference" {
  local folder=e2e-tests/fixtures/labelled-pod
  kwctl pull "$REFERENCE"
  run --separate-stderr kwctl run "$REFERENCE" --request-path "$folder/request.json" --settings-path "$folder/settings.json" \
    --allow-context-aware --replay-host-capabilities-interactions "$folder/session.yaml"
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  diff <(jq -S . "$folder/response.json") <(jq -S '.patch |= (@base64d | fromjson)' <<<"$output")
}
