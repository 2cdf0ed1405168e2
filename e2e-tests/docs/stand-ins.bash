# Stand-ins for programs that would change a cluster: each checks as much as possible without one, and rejects unknown
# commands. $ROOT is the repository; the working folder is a copy of the files that the documents use.
# shellcheck shell=bash

make() {
  case $1 in
    demo) command make --silent -C "$ROOT" "$@" ;;
    # A dry run, so that targets and variables must exist.
    *) command make -C "$ROOT" --dry-run "$@" >/dev/null ;;
  esac
}

helm() {
  local words=() word
  case $1 in
    install | upgrade)
      for word in "${@:2}"; do
        [ "$word" = --create-namespace ] || words+=("$word")
      done
      command helm template --kube-version 1.35.0 "${words[@]}" >rendered.yaml
      grep -q '^kind: MutatingWebhookConfiguration' rendered.yaml
      ;;
    template) command helm "$@" ;;
    get) echo 'azureTenantID: contoso.example' ;;
    rollback | uninstall | history) ;;
    *) echo "no stand-in for helm $1" >&2; return 1 ;;
  esac
}

kubectl() {
  case " $* " in
    " apply ") ;; # The bare command.
    *" --dry-run=client "*) command kubectl "$@" ;;
    *" apply -k "*) command kubectl kustomize "${@: -1}" | grep '^kind: ' ;;
    *" apply -f - "*)
      cat >applied.yaml
      grep -q '^kind: ' applied.yaml && ! grep -n '\${' applied.yaml
      ;;
    # These need a cluster: only the words can be checked.
    *" annotate "* | *" auth can-i "* | *" create "* | *" delete "* | *" describe "* | *" exec "* | *" get "* | *" port-forward "* | *" rollout restart "* | *" run "* | *" wait "*) ;;
    *) echo "no stand-in for kubectl $*" >&2; return 1 ;;
  esac
}

azwi-webhook() { "${CARGO_TARGET_DIR:-$ROOT/target}/debug/azwi-webhook" "$@"; }

# No webhook runs here.
curl() { [ "$*" = "--request PUT localhost:9440/log-level?level=debug" ]; }

# Azure is not available here.
az() { :; }

# Nothing is released yet: only the words can be checked.
cosign() { [ "$1" = verify ]; }
gh() { [ "$1 $2" = "attestation verify" ]; }

# Neither the build output nor a registry is available here.
docker() {
  case $1 in
    build) [ -f "$ROOT/Dockerfile" ] ;;
    push | login) ;;
    *) echo "no stand-in for docker $1" >&2; return 1 ;;
  esac
}
