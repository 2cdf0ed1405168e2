// Reads a secret with each credential that a pod with a workload identity may use: sign-in.js VAULT_URL NAME

import { DefaultAzureCredential, WorkloadIdentityCredential } from "@azure/identity";
import { SecretClient } from "@azure/keyvault-secrets";

const [vault, name] = process.argv.slice(2);

for (const credential of [new WorkloadIdentityCredential(), new DefaultAzureCredential()]) {
  const secret = await new SecretClient(vault, credential).getSecret(name);
  console.log(`${credential.constructor.name}: ${secret.value}`);
}
