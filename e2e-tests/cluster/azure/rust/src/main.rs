//! Reads a secret with the credential that a pod with a workload identity may use: sign-in `VAULT_URL` `NAME`

use std::error::Error;

use azure_identity::WorkloadIdentityCredential;
use azure_security_keyvault_secrets::SecretClient;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let [vault, name] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "usage: sign-in VAULT_URL NAME")?;
    let client = SecretClient::new(&vault, WorkloadIdentityCredential::new(None)?, None)?;
    let secret = client.get_secret(&name, None).await?.into_model()?;
    println!("WorkloadIdentityCredential: {}", secret.value.unwrap_or_default());
    Ok(())
}
