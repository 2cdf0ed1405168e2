# The walk-through's last commands, as it prints them: sign-in.sh VAULT NAME
set -eu
script=$0
az() { PYTHONPATH=$(dirname "$script")/packages /usr/bin/python3 -m azure.cli "$@"; }
# The cloud is the command line's own setting: it does not read AZURE_AUTHORITY_HOST.
[ -z "${AZURE_CLOUD:-}" ] || az cloud set --name "$AZURE_CLOUD"
az login --federated-token "$(cat "$AZURE_FEDERATED_TOKEN_FILE")" --service-principal -u "$AZURE_CLIENT_ID" -t "$AZURE_TENANT_ID" -o none
az keyvault list -o table
az keyvault secret show --vault-name "$1" --name "$2" --query value -o tsv
