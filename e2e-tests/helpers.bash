# Shared by the tests.
# shellcheck shell=bash

how_to_install() {
  case $1 in
    kwctl) echo "https://docs.kubewarden.io/reference/kwctl-cli (1.35 or later)" ;;
    policy-server) echo "https://github.com/kubewarden/adm-controller (1.35 or later)" ;;
    kubectl) echo "https://kubernetes.io/docs/tasks/tools" ;;
    helm) echo "https://helm.sh/docs/intro/install" ;;
    helm4) echo "go install helm.sh/helm/v4/cmd/helm@v4.3.1, under this name" ;;
    actionlint) echo "go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.8" ;;
    promtool) echo "apt-get install prometheus" ;;
    envsubst) echo "apt-get install gettext-base" ;;
    *) echo "apt-get install $1" ;;
  esac
}

# Prints the first of these programs that is not installed, and where to get it; prints nothing if all are installed.
missing() {
  local tool
  for tool in "$@"; do
    if ! command -v "$tool" >/dev/null; then
      echo "$tool is not installed: $(how_to_install "$tool")"
      return
    fi
  done
}

# Skips a test whose programs are missing.
need() {
  local missing
  missing=$(missing "$@")
  [ -z "$missing" ] || skip "$missing"
}

# Picks a free port below the ephemeral range, so that no other process gets it meanwhile.
free_port() {
  local port
  while port=$((RANDOM % 10000 + 20000)) && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}

# Waits until a command succeeds, at most 30 seconds.
eventually() {
  for _ in $(seq 300); do
    if "$@"; then return 0; fi
    sleep 0.1
  done
  echo "never happened: $*"
  return 1
}

# Writes a chart whose only part is ours, on a condition.
write_parent_chart() {
  mkdir -p "$1/charts" "$1/templates"
  cp -r "${BASH_SOURCE[0]%/*}/../charts/azure-workload-identity-webhook" "$1/charts"
  cat >"$1/Chart.yaml" <<'Y'
apiVersion: v2
name: parent
version: 1.0.0
dependencies:
  - {name: azure-workload-identity-webhook, version: "*", condition: azure-workload-identity-webhook.enabled}
Y
}
