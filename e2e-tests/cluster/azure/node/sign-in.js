// Reads a secret with each credential that a pod with a workload identity may use: sign-in.js VAULT_URL NAME

import { DefaultAzureCredential, WorkloadIdentityCredential } from "@azure/identity";
import { SecretClient } from "@azure/keyvault-secrets";

const [vault, name] = process.argv.slice(2);
// AKS identity binding: only this credential can use the proxy, and only if it is told to.
const isBound = "AZURE_KUBERNETES_TOKEN_PROXY" in process.env;
const credentials = [new WorkloadIdentityCredential({ enableAzureProxy: isBound })];
if (!isBound) {
  credentials.push(new DefaultAzureCredential());
}

for (const credential of credentials) {
  const secret = await new SecretClient(vault, credential).getSecret(name);
  console.log(`${credential.constructor.name}: ${secret.value}`);
}
