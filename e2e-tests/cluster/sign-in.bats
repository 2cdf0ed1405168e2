#!/usr/bin/env bats
# Azure's own programs, unmodified, sign in with the identity that the webhook gives a pod, and read a secret. Entra ID, Azure
# Resource Manager and Key Vault are a stand-in under their real names (crates/azure-stand-in), which checks each token by the
# keys that this cluster's API server publishes.

bats_require_minimum_version 1.5.0

system=azwi-sign-in
demo=azwi-sign-in-demo
load helpers

# The node, where the stand-in listens.
node=10.88.0.1
other_tenant=11111111-2222-4333-8444-555555555555
us_tenant=22222222-2222-4333-8444-555555555555
china_tenant=33333333-2222-4333-8444-555555555555
stranger=00000000-0000-4000-8000-00000000000a
hosts=(login.microsoftonline.com management.azure.com standin.vault.azure.net other.vault.azure.net
  login.microsoftonline.us management.usgovcloudapi.net standin.vault.usgovcloudapi.net
  login.chinacloudapi.cn login.partner.microsoftonline.cn management.chinacloudapi.cn standin.vault.azure.cn
  login.contoso.example proxy.standin.example)

setup_file() {
  [ -d "${CLUSTER_STATE:-/tmp/azwi-cluster}/static-pods" ] || skip "only on a cluster of its own: the stand-in listens on the node"
  [ -n "${AZURE_PROGRAMS:-}" ] || skip "the programs of azure/programs are not installed"
  certificates_for "${hosts[@]}"
  kubectl create namespace "$system"
  kubectl create namespace "$demo"
  helm_webhook install --wait --timeout 2m
  local authorities=(--from-file="ca.crt=$BATS_FILE_TMPDIR/ca.crt")
  if [ -d "$AZURE_PROGRAMS/java" ]; then
    keytool -importcert -noprompt -alias stand-in -file "$BATS_FILE_TMPDIR/ca.crt" -keystore "$BATS_FILE_TMPDIR/ca.p12" \
      -storetype PKCS12 -storepass changeit 2>/dev/null
    authorities+=(--from-file="ca.p12=$BATS_FILE_TMPDIR/ca.p12")
  fi
  kubectl -n "$demo" create configmap stand-in "${authorities[@]}"
  demo_account reader "$client"
  demo_account rotated "$client"
  demo_account stranger "$client"
  demo_account of-another-application "$stranger"
  demo_account of-another-audience "$client"
  demo_account bound "$client"
  demo_account of-another-tenant "$client"
  kubectl -n "$demo" annotate serviceaccount of-another-tenant "azure.workload.identity/tenant-id=$other_tenant"
  directory >"$BATS_FILE_TMPDIR/directory.yaml"
  start_stand_in
}

teardown_file() {
  # Skipped.
  kubectl get namespace "$system" >/dev/null 2>&1 || return 0
  [ ! -e "$BATS_FILE_TMPDIR/stand-in.pid" ] || kill "$(cat "$BATS_FILE_TMPDIR/stand-in.pid")"
  kubectl delete namespace "$demo" --wait=false
  helm uninstall azwi --namespace "$system"
  kubectl delete namespace "$system" --wait=false
}

# An authority, and a certificate for these names.
certificates_for() {
  local names
  names=$(printf ',DNS:%s' "$@")
  cd "$BATS_FILE_TMPDIR"
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=stand-in-ca -keyout ca.key -out ca.crt \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj /CN=stand-in -keyout tls.key -out tls.csr 2>/dev/null
  openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out tls.crt \
    -extfile <(echo "subjectAltName=${names#,}"; echo extendedKeyUsage=serverAuth) 2>/dev/null
  cd - >/dev/null
}

# What exists in the stand-in: the keys of this cluster, and applications with federated credentials.
directory() {
  jq -n --argjson keys "$(kubectl get --raw /openid/v1/jwks)" \
    --arg issuer "$(kubectl get --raw /.well-known/openid-configuration | jq -r .issuer)" --arg ns "$demo" \
    --arg client "$client" --arg stranger "$stranger" --arg tenant "$tenant" --arg other "$other_tenant" \
    --arg us "$us_tenant" --arg china "$china_tenant" '
    def credential($account; $issuer; $audience): {name: $account, issuer: $issuer,
      subject: "system:serviceaccount:\($ns):\($account)", audiences: [$audience]};
    def tenant($id; $cloud; $number; $vault; $accounts): {id: $id, cloud: $cloud,
      applications: [
        {clientId: $client, federatedCredentials: ([$accounts[] | credential(.; $issuer; "api://AzureADTokenExchange")]
          + [credential("of-another-audience"; $issuer; "api://other"),
            credential("bound"; $issuer; "api://AKSIdentityBinding")])},
        {clientId: $stranger, federatedCredentials: [credential("of-another-application"; "https://other.example"; "api://AzureADTokenExchange")]}],
      subscriptions: [{id: "00000000-0000-4000-8000-00000000000\($number)", readers: [$client],
        vaults: [{name: $vault, resourceGroup: "demo", location: "westeurope", secrets: {greeting: "a secret of \($cloud) \($number)"}}]}]};
    {issuers: {($issuer): $keys, "https://other.example": {keys: []}}, authorityHosts: ["login.contoso.example"], tenants: [
      tenant($tenant; "AzurePublicCloud"; 1; "standin"; ["reader", "rotated"]),
      tenant($other; "AzurePublicCloud"; 2; "other"; ["of-another-tenant"]),
      tenant($us; "AzureUSGovernment"; 3; "standin"; ["reader"]),
      tenant($china; "AzureChinaCloud"; 4; "standin"; ["reader"])]}'
}

start_stand_in() {
  "${AZURE_STAND_IN:?}" --listen "$node:443" --token-proxy-listen "$node:8443" --directory "$BATS_FILE_TMPDIR/directory.yaml" \
    --certificate "$BATS_FILE_TMPDIR/tls.crt" --key "$BATS_FILE_TMPDIR/tls.key" \
    >"$BATS_FILE_TMPDIR/stand-in.log" 2>&1 3>&- 4>&- &
  echo $! >"$BATS_FILE_TMPDIR/stand-in.pid"
  eventually grep -q listening "$BATS_FILE_TMPDIR/stand-in.log"
}

# run_in_pod NAME ACCOUNT COMMAND...: with $ANNOTATIONS, runs a program to its end in a pod, and prints what it says.
run_in_pod() {
  local name=$1 account=$2 none='{}' java_mount='' java_volume='' java_settings
  shift 2
  # Debian's Java has its settings outside of /usr.
  java_settings=$(dirname "$(readlink -f "$(java_home)/conf/security/java.security")")
  if [[ $java_settings = /etc/* ]]; then
    java_settings=/etc/$(cut -d/ -f3 <<<"$java_settings")
    java_mount="- {name: java, mountPath: $java_settings, readOnly: true}"
    java_volume="- {name: java, hostPath: {path: $java_settings}}"
  fi
  kubectl -n "$demo" create -f - >/dev/null <<Y
apiVersion: v1
kind: Pod
metadata: {name: $name, labels: {azure.workload.identity/use: "true"}, annotations: ${ANNOTATIONS:-$none}}
spec:
  serviceAccountName: $account
  restartPolicy: Never
  hostAliases: [{ip: $node, hostnames: $(jq -cn '$ARGS.positional' --args "${hosts[@]}")}]
  containers:
    - name: program
      image: $WORKLOAD_IMAGE
      imagePullPolicy: Never
      command: $(jq -cn '$ARGS.positional' --args -- "$@")
      securityContext: {readOnlyRootFilesystem: true, runAsUser: 65532}
      env:
        - {name: PATH, value: /usr/bin}
        - {name: REQUESTS_CA_BUNDLE, value: /stand-in/ca.crt}
        - {name: SSL_CERT_FILE, value: /stand-in/ca.crt}
        - {name: NODE_EXTRA_CA_CERTS, value: /stand-in/ca.crt}
        - {name: JAVA_TOOL_OPTIONS, value: "-Djavax.net.ssl.trustStore=/stand-in/ca.p12 -Djavax.net.ssl.trustStorePassword=changeit"}
        - {name: AZURE_CONFIG_DIR, value: /tmp/azure}
        - {name: AZURE_CORE_COLLECT_TELEMETRY, value: "no"}
        - {name: AZURE_CLOUD, value: "${AZURE_CLOUD:-}"}
      volumeMounts:
        - {name: usr, mountPath: /usr, readOnly: true}
        - {name: lib, mountPath: /lib, readOnly: true}
        - {name: lib64, mountPath: /lib64, readOnly: true}
        - {name: programs, mountPath: /programs, readOnly: true}
        - {name: stand-in, mountPath: /stand-in}
        - {name: tmp, mountPath: /tmp}
        $java_mount
  volumes:
    - {name: usr, hostPath: {path: /usr}}
    - {name: lib, hostPath: {path: /usr/lib}}
    - {name: lib64, hostPath: {path: /usr/lib64}}
    - {name: programs, hostPath: {path: $AZURE_PROGRAMS}}
    - {name: stand-in, configMap: {name: stand-in}}
    - {name: tmp, emptyDir: {}}
    $java_volume
Y
  kubectl -n "$demo" wait "pod/$name" --for=jsonpath='{.status.containerStatuses[0].state.terminated}' --timeout=240s >/dev/null ||
    kubectl -n "$demo" describe pod "$name"
  kubectl -n "$demo" logs "$name"
  [ "$(kubectl -n "$demo" get pod "$name" -o jsonpath='{.status.containerStatuses[0].state.terminated.exitCode}')" = 0 ]
}

java_home() { dirname "$(dirname "$(readlink -f /usr/bin/java)")"; }

# sign_in PROGRAM NAME ACCOUNT [VAULT_HOST [SCOPE]]: prints the secret.
sign_in() {
  local vault=${4:-standin.vault.azure.net} folder=/programs/$1
  case $1 in
    az) run_in_pod "az-$2" "$3" /usr/bin/sh "$folder/sign-in.sh" "${vault%%.*}" greeting ;;
    python) run_in_pod "python-$2" "$3" /usr/bin/env PYTHONPATH="$folder/packages" /usr/bin/python3 "$folder/sign-in.py" "https://$vault" greeting ;;
    node) run_in_pod "node-$2" "$3" /usr/bin/node "$folder/sign-in.js" "https://$vault" greeting ;;
    node24) run_in_pod "node24-$2" "$3" "$folder/node_modules/node/bin/node" "$folder/sign-in.js" "https://$vault" greeting ;;
    java) run_in_pod "java-$2" "$3" "$(java_home)/bin/java" -cp "$folder:$folder/jars/*" SignIn "https://$vault" greeting ${5:+"$5"} ;;
    go | rust) run_in_pod "$1-$2" "$3" "$folder/sign-in" "https://$vault" greeting ;;
  esac
}

# The libraries that are installed; one that is not is named by azure/programs.
libraries() {
  local library
  for library in python node node24 go java rust; do [ ! -d "$AZURE_PROGRAMS/$library" ] || echo "$library"; done
}

# Sets values of the chart, and waits until pods are mutated by them: no replica of before is left.
configure() {
  helm_webhook upgrade --wait --timeout 2m --set replicaCount=1 --set strategy.type=Recreate --set shutdown.lameDuckSeconds=0 "$@"
  eventually gets_identity reader
}

# reads_the_secret NAME SECRET [VAULT_HOST [ACCOUNT]]: with each credential of each library.
reads_the_secret() {
  local library
  for library in $(libraries); do
    run sign_in "$library" "$1" "${4:-reader}" "${3:-}"
    echo "$library: $output"
    [ "$status" -eq 0 ]
    [[ $output == *"WorkloadIdentityCredential: $2"* ]]
    # Rust has no such credential.
    [ "$library" = rust ] || [[ $output == *"DefaultAzureCredential: $2"* ]]
    case $library in python | go) [[ $output == *"MSAL: true"* ]] ;; esac
  done
}

reads_the_secret_with_az() {
  [ -d "$AZURE_PROGRAMS/az" ] || return 0
  run sign_in az "$1" reader
  echo "$output"
  [ "$status" -eq 0 ]
  # The walk-through's table, and the secret.
  [[ $output == *"westeurope"*"standin"*"demo"* ]]
  [[ $output == *"$2"* ]]
}

@test "the Azure CLI and Azure Identity sign in, in each layout of the token volume" {
  for layout in azure-identity-token reserved reserved-per-pod; do
    echo "layout $layout"
    configure --set tokenVolume="$layout"
    reads_the_secret "$layout" "a secret of AzurePublicCloud 1"
    reads_the_secret_with_az "$layout" "a secret of AzurePublicCloud 1"
  done
  grep -q '"decision":"federated credential reader"' "$BATS_FILE_TMPDIR/stand-in.log"
}

@test "they sign in to AzureUSGovernment and AzureChinaCloud" {
  configure --set azureEnvironment=AzureUSGovernmentCloud --set azureTenantID="$us_tenant"
  reads_the_secret us "a secret of AzureUSGovernment 3" standin.vault.usgovcloudapi.net
  AZURE_CLOUD=AzureUSGovernment reads_the_secret_with_az us "a secret of AzureUSGovernment 3"
  configure --set azureEnvironment=AzureChinaCloud --set azureTenantID="$china_tenant"
  reads_the_secret china "a secret of AzureChinaCloud 4" standin.vault.azure.cn
  AZURE_CLOUD=AzureChinaCloud reads_the_secret_with_az china "a secret of AzureChinaCloud 4"
}

@test "they sign in at an authority host of the settings" {
  configure --set settings.authorityHost=https://login.contoso.example
  reads_the_secret authority "a secret of AzurePublicCloud 1"
  grep -q '"host":"login.contoso.example".*"status":200' "$BATS_FILE_TMPDIR/stand-in.log"
}

@test "the service account's tenant counts, not the webhook's" {
  configure
  reads_the_secret tenant "a secret of AzurePublicCloud 2" other.vault.azure.net of-another-tenant
}

# token_endpoint SOURCE: values of the chart for the token endpoint, with one source of its CA.
token_endpoint() {
  jq -n --arg source "$1" --arg node "$node" --rawfile ca "$BATS_FILE_TMPDIR/ca.crt" '
    {configMap: {azureKubernetesCAConfigMapName: "stand-in"},
      data: {azureKubernetesCaData: $ca},
      trustBundle: {azureKubernetesCACTBSignerName: "standin.example/token-proxy",
        azureKubernetesCACTBLabelSelector: ({matchLabels: {app: "token-proxy"}} | tojson)}} as $sources
    | {tokenVolume: "reserved", customTokenEndpoint: ({annotationSuffix: "identity-binding", audience: "api://AKSIdentityBinding",
        azureKubernetesTokenProxy: "https://\($node):8443", azureKubernetesSniName: "proxy.standin.example"} + $sources[$source])}'
}

@test "AKS identity binding: the token endpoint is used, with each source of its CA" {
  local sources=(configMap data)
  if kubectl get --raw /apis/certificates.k8s.io/v1 | grep -q '"clustertrustbundles"'; then
    sources+=(trustBundle)
    kubectl apply -f - <<Y
apiVersion: certificates.k8s.io/v1
kind: ClusterTrustBundle
metadata: {name: "standin.example:token-proxy:ca", labels: {app: token-proxy}}
spec:
  signerName: standin.example/token-proxy
  trustBundle: $(jq -Rs . "$BATS_FILE_TMPDIR/ca.crt")
Y
  else
    echo "# not tried: this Kubernetes has no ClusterTrustBundle of version v1" >&3
  fi
  signed_in=0
  for source in "${sources[@]}"; do
    token_endpoint "$source" >"$BATS_TEST_TMPDIR/values.json"
    configure --values "$BATS_TEST_TMPDIR/values.json"
    for library in $(libraries); do
      # Azure Identity knows the proxy since 4.14 for JavaScript, which needs Node 22, and since 1.1 for Rust.
      case $library in node | rust) continue ;; esac
      signed_in=$((signed_in + 1))
      ANNOTATIONS='{azure.workload.identity/use-identity-binding: "true"}' run sign_in "$library" "bound-$signed_in" bound
      echo "$source $library: $output"
      [ "$status" -eq 0 ]
      [[ $output == *"WorkloadIdentityCredential: a secret of AzurePublicCloud 1"* ]]
    done
  done
  decided() { jq -r --arg listener "$1" 'select(.listener == $listener and .decision == "federated credential bound") | .client' "$BATS_FILE_TMPDIR/stand-in.log" | wc -l; }
  [ "$(decided "token proxy")" -eq "$signed_in" ]
  # Never past it.
  [ "$(decided azure)" -eq 0 ]
}

# A kubelet forgets its tokens when it stops, and asks for new ones; otherwise it does so after 48 minutes at the earliest.
restart_kubelet() {
  local process command state=${CLUSTER_STATE:-/tmp/azwi-cluster}
  process=$(grep -lx kubelet $(sed 's|.*|/proc/&/comm|' "$state/pids") 2>/dev/null | cut -d/ -f3)
  mapfile -d '' command <"/proc/$process/cmdline"
  kill "$process"
  while [ -e "/proc/$process" ]; do sleep 0.1; done
  setsid "${command[@]}" >>"$state/log/kubelet" 2>&1 </dev/null 3>&- 4>&- &
  echo $! >>"$state/pids"
}

@test "a program exchanges the token that the kubelet has renewed while it ran" {
  [ -d "$AZURE_PROGRAMS/java" ] || skip "only Azure Identity for Java reads the token for each exchange, and it is not installed"
  configure
  sign_in java renewed rotated standin.vault.azure.net https://management.azure.com/.default >"$BATS_TEST_TMPDIR/output" 2>&1 3>&- 4>&- &
  program=$!
  has_read() { kubectl -n "$demo" logs java-renewed 2>/dev/null | grep -q DefaultAzureCredential; }
  eventually has_read
  tokens() { jq -r 'select(.decision == "federated credential rotated").tokenIssuedAt' "$BATS_FILE_TMPDIR/stand-in.log" | sort -u | wc -l; }
  [ "$(tokens)" -eq 1 ]
  restart_kubelet
  wait "$program" || { cat "$BATS_TEST_TMPDIR/output"; false; }
  grep "after the rotation: true" "$BATS_TEST_TMPDIR/output"
  [ "$(tokens)" -eq 2 ]
}

@test "wrong set-ups end with the code that docs/troubleshooting.md explains" {
  configure
  while read -r code account; do
    grep -q "AADSTS$code" "$BATS_TEST_DIRNAME/../../docs/troubleshooting.md"
    for program in $(libraries) az; do
      [ -d "$AZURE_PROGRAMS/$program" ] || continue
      run sign_in "$program" "$code" "$account"
      echo "$program: $output"
      [ "$status" -ne 0 ]
      [[ $output == *"AADSTS$code"* ]]
    done
  done <<<"700211 of-another-application
700212 of-another-audience
700213 stranger"
}

@test "no token is written into the stand-in's log" {
  [ -s "$BATS_FILE_TMPDIR/stand-in.log" ]
  ! grep -E 'eyJ|stand-in-token' "$BATS_FILE_TMPDIR/stand-in.log"
}
