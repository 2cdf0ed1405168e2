/* The container of the walk-through: prints its four variables and its token, then waits. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void end(int signal_number) {
  (void)signal_number;
  _exit(0);
}

int main(void) {
  const char *names[] = {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"};
  for (int i = 0; i < 4; i++) {
    const char *value = getenv(names[i]);
    printf("%s=%s\n", names[i], value ? value : "");
  }
  const char *path = getenv("AZURE_FEDERATED_TOKEN_FILE");
  FILE *file = path ? fopen(path, "r") : NULL;
  char token[8192] = "";
  if (file) {
    size_t length = fread(token, 1, sizeof token - 1, file);
    token[length] = 0;
    fclose(file);
  }
  printf("TOKEN=%s\n", token);
  fflush(stdout);
  signal(SIGTERM, end);
  for (;;) pause();
}
