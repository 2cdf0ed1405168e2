# Stand-ins for programs that would change a cluster: each checks as much as can be checked without one, and refuses what
# it does not know. $ROOT is the repository; the working folder is a copy of what the documents name.
# shellcheck shell=bash

make() {
  case $1 in
    demo) command make --silent -C "$ROOT" "$@" ;;
    # What it would do, so that targets and variables have to exist.
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
    get) echo 'azureTenantID: contoso.example' ;;
    rollback | uninstall | history) ;;
    *) echo "no stand-in for helm $1" >&2; return 1 ;;
  esac
}

kubectl() {
  case " $* " in
    " apply ") ;; # The command as such.
    *" --dry-run=client "*) command kubectl "$@" ;;
    *" apply -k "*) command kubectl kustomize "${@: -1}" | grep '^kind: ' ;;
    *" apply -f - "*)
      cat >applied.yaml
      grep -q '^kind: ' applied.yaml && ! grep -n '\${' applied.yaml
      ;;
    # A cluster is needed: the words are all that can be checked.
    *" annotate "* | *" auth can-i "* | *" create "* | *" delete "* | *" describe "* | *" exec "* | *" get "* | *" rollout restart "* | *" run "* | *" wait "*) ;;
    *) echo "no stand-in for kubectl $*" >&2; return 1 ;;
  esac
}

azwi-webhook() { "${CARGO_TARGET_DIR:-$ROOT/target}/debug/azwi-webhook" "$@"; }

# Azure is not here.
az() { :; }

# Nothing is released yet: the words are all that can be checked.
cosign() { [ "$1" = verify ]; }
gh() { [ "$1 $2" = "attestation verify" ]; }

# What is built is not here, and a registry is not either.
docker() {
  case $1 in
    build) [ -f "$ROOT/Dockerfile" ] ;;
    push | login) ;;
    *) echo "no stand-in for docker $1" >&2; return 1 ;;
  esac
}
