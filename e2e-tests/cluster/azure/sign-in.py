"""Reads a secret with each credential that a pod with a workload identity may use: sign-in.py VAULT_URL NAME"""

import sys

from azure.identity import DefaultAzureCredential, WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient

for credential in (WorkloadIdentityCredential(), DefaultAzureCredential()):
    secret = SecretClient(vault_url=sys.argv[1], credential=credential).get_secret(sys.argv[2])
    print(f"{type(credential).__name__}: {secret.value}")
