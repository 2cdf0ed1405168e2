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
  login.contoso.example)

setup_file() {
  [ -d "${CLUSTER_STATE:-/tmp/azwi-cluster}/static-pods" ] || skip "only on a cluster of its own: the stand-in listens on the node"
  [ -n "${AZURE_PROGRAMS:-}" ] || skip "the programs of azure/programs are not installed"
  certificates_for "${hosts[@]}"
  kubectl create namespace "$system"
  kubectl create namespace "$demo"
  helm_webhook install --wait --timeout 2m
  kubectl -n "$demo" create configmap stand-in --from-file="ca.crt=$BATS_FILE_TMPDIR/ca.crt" \
    --from-file="$BATS_TEST_DIRNAME/azure/sign-in.py" --from-file="$BATS_TEST_DIRNAME/azure/az.sh"
  demo_account reader "$client"
  demo_account stranger "$client"
  demo_account of-another-application "$stranger"
  demo_account of-another-audience "$client"
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
          + [credential("of-another-audience"; $issuer; "api://other")])},
        {clientId: $stranger, federatedCredentials: [credential("of-another-application"; "https://other.example"; "api://AzureADTokenExchange")]}],
      subscriptions: [{id: "00000000-0000-4000-8000-00000000000\($number)", readers: [$client],
        vaults: [{name: $vault, resourceGroup: "demo", location: "westeurope", secrets: {greeting: "a secret of \($cloud) \($number)"}}]}]};
    {issuers: {($issuer): $keys, "https://other.example": {keys: []}}, authorityHosts: ["login.contoso.example"], tenants: [
      tenant($tenant; "AzurePublicCloud"; 1; "standin"; ["reader"]),
      tenant($other; "AzurePublicCloud"; 2; "other"; ["of-another-tenant"]),
      tenant($us; "AzureUSGovernment"; 3; "standin"; ["reader"]),
      tenant($china; "AzureChinaCloud"; 4; "standin"; ["reader"])]}'
}

start_stand_in() {
  "${AZURE_STAND_IN:?}" --listen "$node:443" --directory "$BATS_FILE_TMPDIR/directory.yaml" \
    --certificate "$BATS_FILE_TMPDIR/tls.crt" --key "$BATS_FILE_TMPDIR/tls.key" \
    >"$BATS_FILE_TMPDIR/stand-in.log" 2>&1 3>&- 4>&- &
  echo $! >"$BATS_FILE_TMPDIR/stand-in.pid"
  eventually grep -q listening "$BATS_FILE_TMPDIR/stand-in.log"
}

# run_in_pod NAME ACCOUNT FOLDER COMMAND...: runs a program to its end in a pod, and prints what it says.
run_in_pod() {
  local name=$1 account=$2 folder=$3
  shift 3
  kubectl -n "$demo" create -f - >/dev/null <<Y
apiVersion: v1
kind: Pod
metadata: {name: $name, labels: {azure.workload.identity/use: "true"}}
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
        - {name: PYTHONPATH, value: /programs/$folder}
        - {name: REQUESTS_CA_BUNDLE, value: /stand-in/ca.crt}
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
  volumes:
    - {name: usr, hostPath: {path: /usr}}
    - {name: lib, hostPath: {path: /usr/lib}}
    - {name: lib64, hostPath: {path: /usr/lib64}}
    - {name: programs, hostPath: {path: $AZURE_PROGRAMS}}
    - {name: stand-in, configMap: {name: stand-in}}
    - {name: tmp, emptyDir: {}}
Y
  kubectl -n "$demo" wait "pod/$name" --for=jsonpath='{.status.containerStatuses[0].state.terminated}' --timeout=120s >/dev/null ||
    kubectl -n "$demo" describe pod "$name"
  kubectl -n "$demo" logs "$name"
  [ "$(kubectl -n "$demo" get pod "$name" -o jsonpath='{.status.containerStatuses[0].state.terminated.exitCode}')" = 0 ]
}

# python NAME ACCOUNT VAULT_HOST, az NAME ACCOUNT: the secret is printed.
python() { run_in_pod "$1" "$2" python /usr/bin/python3 /stand-in/sign-in.py "https://${3:-standin.vault.azure.net}" greeting; }
az() { run_in_pod "$1" "$2" az /usr/bin/sh /stand-in/az.sh standin greeting; }

# Sets values of the chart, and waits until pods are mutated by them: no replica of before is left.
configure() {
  helm_webhook upgrade --wait --timeout 2m --set replicaCount=1 --set strategy.type=Recreate --set shutdown.lameDuckSeconds=0 "$@"
  eventually gets_identity reader
}

reads_the_secret_with_python() {
  run python "$1" "${4:-reader}" "${3:-}"
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *"WorkloadIdentityCredential: $2"* ]]
  [[ $output == *"DefaultAzureCredential: $2"* ]]
}

reads_the_secret_with_az() {
  run az "$1" reader
  echo "$output"
  [ "$status" -eq 0 ]
  # The walk-through's table, and the secret.
  [[ $output == *"westeurope"*"standin"*"demo"* ]]
  [[ $output == *"$2"* ]]
}

@test "the Azure CLI and Azure Identity for Python sign in, in each layout of the token volume" {
  for layout in azure-identity-token reserved reserved-per-pod; do
    echo "layout $layout"
    configure --set tokenVolume="$layout"
    reads_the_secret_with_python "python-$layout" "a secret of AzurePublicCloud 1"
    reads_the_secret_with_az "az-$layout" "a secret of AzurePublicCloud 1"
  done
  grep -q '"decision":"federated credential reader"' "$BATS_FILE_TMPDIR/stand-in.log"
}

@test "they sign in to AzureUSGovernment and AzureChinaCloud" {
  configure --set azureEnvironment=AzureUSGovernmentCloud --set azureTenantID="$us_tenant"
  reads_the_secret_with_python python-us "a secret of AzureUSGovernment 3" standin.vault.usgovcloudapi.net
  AZURE_CLOUD=AzureUSGovernment reads_the_secret_with_az az-us "a secret of AzureUSGovernment 3"
  configure --set azureEnvironment=AzureChinaCloud --set azureTenantID="$china_tenant"
  reads_the_secret_with_python python-china "a secret of AzureChinaCloud 4" standin.vault.azure.cn
  AZURE_CLOUD=AzureChinaCloud reads_the_secret_with_az az-china "a secret of AzureChinaCloud 4"
}

@test "they sign in at an authority host of the settings" {
  configure --set settings.authorityHost=https://login.contoso.example
  reads_the_secret_with_python python-authority "a secret of AzurePublicCloud 1"
  grep -q '"host":"login.contoso.example".*"status":200' "$BATS_FILE_TMPDIR/stand-in.log"
}

@test "the service account's tenant counts, not the webhook's" {
  configure
  reads_the_secret_with_python python-tenant "a secret of AzurePublicCloud 2" other.vault.azure.net of-another-tenant
}

@test "wrong set-ups end with the code that docs/troubleshooting.md explains" {
  configure
  while read -r code account; do
    grep -q "AADSTS$code" "$BATS_TEST_DIRNAME/../../docs/troubleshooting.md"
    for program in python az; do
      run "$program" "$program-$code" "$account"
      echo "$output"
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
