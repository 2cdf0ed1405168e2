// Reads a secret with each credential that a pod with a workload identity may use: sign-in VAULT_URL NAME
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

func main() {
	vault, name := os.Args[1], os.Args[2]
	// AKS identity binding: only this credential can use the proxy, and only if it is told to.
	_, isBound := os.LookupEnv("AZURE_KUBERNETES_TOKEN_PROXY")
	options := &azidentity.WorkloadIdentityCredentialOptions{EnableAzureProxy: isBound}
	workload, err := azidentity.NewWorkloadIdentityCredential(options)
	check(err)
	read("WorkloadIdentityCredential", workload, vault, name)
	if isBound {
		return
	}
	standard, err := azidentity.NewDefaultAzureCredential(nil)
	check(err)
	read("DefaultAzureCredential", standard, vault, name)
	msal(vault)
}

func read(kind string, credential azcore.TokenCredential, vault, name string) {
	client, err := azsecrets.NewClient(vault, credential, nil)
	check(err)
	secret, err := client.GetSecret(context.Background(), name, "", nil)
	check(err)
	fmt.Printf("%s: %s\n", kind, *secret.Value)
}

// The library below Azure Identity, as programs use it that do without.
func msal(vault string) {
	credential := confidential.NewCredFromAssertionCallback(
		func(context.Context, confidential.AssertionRequestOptions) (string, error) {
			token, err := os.ReadFile(os.Getenv("AZURE_FEDERATED_TOKEN_FILE"))
			return string(token), err
		})
	authority := os.Getenv("AZURE_AUTHORITY_HOST") + os.Getenv("AZURE_TENANT_ID")
	client, err := confidential.New(authority, os.Getenv("AZURE_CLIENT_ID"), credential)
	check(err)
	// https://NAME.vault.azure.net
	domain := vault[strings.Index(vault, ".")+1:]
	result, err := client.AcquireTokenByCredential(context.Background(), []string{"https://" + domain + "/.default"})
	check(err)
	fmt.Printf("MSAL: %t\n", result.AccessToken != "")
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
