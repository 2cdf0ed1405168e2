{{/* Upstream's labels. The last four are in selectors, so they never change. */}}
{{- define "azwi.selectorLabels" -}}
azure-workload-identity.io/system: "true"
app: {{ .Values.nameOverride }}
chart: {{ .Values.nameOverride }}
release: {{ .Release.Name }}
{{- end -}}

{{- define "azwi.labels" -}}
{{ include "azwi.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "azwi.isSelfManaged" -}}
{{- if eq .Values.certificates.mode "selfManaged" }}true{{ end -}}
{{- end -}}

{{/* Port of an address such as ":8095" or "0.0.0.0:8095". */}}
{{- define "azwi.metricsPort" -}}
{{- .Values.metricsAddr | splitList ":" | last -}}
{{- end -}}

{{- define "azwi.webhookClient" -}}
clientConfig:
  service:
    name: azure-wi-webhook-webhook-service
    namespace: {{ .Release.Namespace }}
    path: /mutate-v1-pod
    port: {{ .Values.service.port }}
  {{- with .Values.certificates.caBundle }}
  caBundle: {{ . | b64enc }}
  {{- end }}
admissionReviewVersions: [v1, v1beta1]
matchPolicy: Equivalent
sideEffects: None
{{- end -}}

{{/* Namespaces for what must not depend on the webhook: neither its own pods nor the cluster's. */}}
{{- define "azwi.otherNamespaces" -}}
{{- $selector := .Values.mutatingWebhookNamespaceSelector -}}
{{- with $selector.matchLabels }}
matchLabels:
  {{- toYaml . | nindent 2 }}
{{- end }}
matchExpressions:
  {{- with $selector.matchExpressions }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: {{ append .Values.excludedNamespaces .Release.Namespace | uniq | toJson }}
{{- end -}}

{{/* One rule of the network policy: who may reach a port; anybody, if nobody is named. */}}
{{- define "azwi.ingress" -}}
- ports:
    - port: {{ .port }}
  {{- with .from }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* With --reuse-values Helm takes the old chart's defaults for this chart's, among them upstream's image. */}}
{{- define "azwi.requireNewDefaults" -}}
{{- if not .Values.certificates -}}
{{- fail "the values come from another chart's defaults, as with helm upgrade --reuse-values; use --reset-then-reuse-values (Helm 3.14 or later), or --values with a file from helm get values" -}}
{{- end -}}
{{- end -}}
