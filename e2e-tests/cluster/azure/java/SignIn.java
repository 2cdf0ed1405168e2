import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.identity.WorkloadIdentityCredentialBuilder;
import com.azure.security.keyvault.secrets.SecretClientBuilder;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Reads a secret with each credential that a pod with a workload identity may use: SignIn VAULT_URL NAME [SCOPE]. With a scope,
 * waits until the kubelet has rotated the token, and asks for a token for the scope with the first credential.
 */
public final class SignIn {
    public static void main(String[] arguments) throws Exception {
        String vault = arguments[0];
        String name = arguments[1];
        Path tokenFile = Path.of(System.getenv("AZURE_FEDERATED_TOKEN_FILE"));
        String token = Files.readString(tokenFile);
        // AKS identity binding: only this credential can use the proxy, and only if it is told to.
        boolean isBound = System.getenv("AZURE_KUBERNETES_TOKEN_PROXY") != null;
        WorkloadIdentityCredentialBuilder builder = new WorkloadIdentityCredentialBuilder();
        if (isBound) {
            builder.enableAzureProxy();
        }
        TokenCredential workload = builder.build();
        read("WorkloadIdentityCredential", workload, vault, name);
        if (!isBound) {
            read("DefaultAzureCredential", new DefaultAzureCredentialBuilder().build(), vault, name);
        }
        if (arguments.length > 2) {
            while (Files.readString(tokenFile).equals(token)) {
                Thread.sleep(500);
            }
            String next = workload.getTokenSync(new TokenRequestContext().addScopes(arguments[2])).getToken();
            System.out.println("after the rotation: " + !next.isEmpty());
        }
    }

    private static void read(String kind, TokenCredential credential, String vault, String name) {
        var client = new SecretClientBuilder().vaultUrl(vault).credential(credential).buildClient();
        System.out.println(kind + ": " + client.getSecret(name).getValue());
    }
}
