"""Reads a secret with each credential that a pod with a workload identity may use: sign-in.py VAULT_URL NAME"""

import os
import sys

import msal
from azure.identity import DefaultAzureCredential, WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient

# AKS identity binding: only one credential can use the proxy, and only if it is told to.
IS_BOUND = "AZURE_KUBERNETES_TOKEN_PROXY" in os.environ


def read_secret(credential, vault, name):
    secret = SecretClient(vault_url=vault, credential=credential).get_secret(name)
    print(f"{type(credential).__name__}: {secret.value}")


def read_token():
    with open(os.environ["AZURE_FEDERATED_TOKEN_FILE"], encoding="ascii") as file:
        return file.read()


def sign_in_with_msal(vault):
    """The library below Azure Identity, as programs use it that do without."""
    application = msal.ConfidentialClientApplication(
        os.environ["AZURE_CLIENT_ID"],
        client_credential={"client_assertion": read_token},
        authority=os.environ["AZURE_AUTHORITY_HOST"] + os.environ["AZURE_TENANT_ID"],
    )
    # https://NAME.vault.azure.net
    domain = vault.split(".", 1)[1]
    answer = application.acquire_token_for_client(scopes=[f"https://{domain}/.default"])
    if "access_token" not in answer:
        sys.exit(answer["error_description"])
    print("MSAL: true")


def main(vault, name):
    read_secret(WorkloadIdentityCredential(enable_azure_proxy=IS_BOUND), vault, name)
    if not IS_BOUND:
        read_secret(DefaultAzureCredential(), vault, name)
        sign_in_with_msal(vault)


main(*sys.argv[1:])
