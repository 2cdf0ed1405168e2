{{/* Upstream's labels. The last four are in selectors, so they never change. */}}
{{- define "azwi.selectorLabels" -}}
azure-workload-identity.io/system: "true"
app: {{ .Values.nameOverride }}
chart: {{ .Values.nameOverride }}
release: {{ .Release.Name }}
{{- end -}}

{{/* The chart's own labels win, because the user's may come from a parent chart for all its objects. */}}
{{- define "azwi.labels" -}}
{{- $labels := include "azwi.selectorLabels" . | fromYaml -}}
{{- $labels = merge $labels (dict "app.kubernetes.io/version" .Chart.AppVersion "app.kubernetes.io/managed-by" .Release.Service) -}}
{{- toYaml (merge $labels (.Values.commonLabels | default dict)) -}}
{{- end -}}

{{/* Labels of the pods. */}}
{{- define "azwi.podLabels" -}}
{{- toYaml (merge (include "azwi.selectorLabels" . | fromYaml) (.Values.podLabels | default dict) (.Values.commonLabels | default dict)) -}}
{{- end -}}

{{- define "azwi.isSelfManaged" -}}
{{- if eq .Values.certificates.mode "selfManaged" }}true{{ end -}}
{{- end -}}

{{/* Port of an address such as ":8095" or "0.0.0.0:8095". */}}
{{- define "azwi.metricsPort" -}}
{{- .Values.metricsAddr | splitList ":" | last -}}
{{- end -}}

{{- define "azwi.healthPort" -}}
{{- .Values.healthAddr | splitList ":" | last -}}
{{- end -}}

{{- define "azwi.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .release | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A probe: the chart's, with the fields that the user sets or removes. */}}
{{- define "azwi.probe" -}}
{{- $probe := dict -}}
{{- range $key, $value := mergeOverwrite (deepCopy .chart) (.user | default dict) -}}
{{- if not (kindIs "invalid" $value) }}{{ $_ := set $probe $key $value }}{{ end -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{/* A map without the keys that are null, which some versions of Helm leave in. */}}
{{- define "azwi.withoutNulls" -}}
{{- $kept := dict -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) }}{{ $_ := set $kept $key $value }}{{ end -}}
{{- end -}}
{{- toYaml $kept -}}
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

{{/*
The objects of an entry: those in the namespaces of the user's selector, without the excluded namespaces and mirror pods. Some platforms write the namespaceSelector
(AKS, GKE Autopilot), so exclusions stand in matchConditions. Those are GA since Kubernetes 1.30; an older API server
may drop them without a word, and gets them in the selector. A mirror pod shows a static pod, which runs already: if the
webhook is away, it must be shown nevertheless. No selector can say that.
*/}}
{{- define "azwi.scope" -}}
{{- $selector := .root.Values.mutatingWebhookNamespaceSelector | default dict -}}
{{- $excluded := append (.excluded | default list) .root.Release.Namespace | uniq | toJson -}}
{{- if semverCompare ">=1.30.0-0" .root.Capabilities.KubeVersion.Version -}}
{{- with $selector -}}
namespaceSelector:
  {{- toYaml . | nindent 2 }}
{{ end -}}
matchConditions:
  - name: namespace-is-not-excluded
    expression: '!(request.namespace in {{ $excluded }})'
  {{- if .isForPods }}
  - name: pod-is-not-a-mirror
    expression: '!has(object.metadata.annotations) || !("kubernetes.io/config.mirror" in object.metadata.annotations)'
  {{- end }}
{{- else -}}
namespaceSelector:
  {{- with $selector.matchLabels }}
  matchLabels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  matchExpressions:
    {{- with $selector.matchExpressions }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {{ $excluded }}
{{- end -}}
{{- end -}}

{{/* The ports, which must differ: they are in one pod. */}}
{{- define "azwi.requireDifferentPorts" -}}
{{- $ports := list (toString .Values.service.targetPort) (include "azwi.metricsPort" .) (include "azwi.healthPort" .) -}}
{{- if lt (len (uniq $ports)) (len $ports) -}}
{{- fail (printf "service.targetPort, metricsAddr and healthAddr must have different ports, but have %s" (join ", " $ports)) -}}
{{- end -}}
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
{{- if not (and .Values.certificates .Values.webhookConfiguration) -}}
{{- fail "the values come from the defaults of another chart, or of another version of this one, as with helm upgrade --reuse-values; use --reset-then-reuse-values (Helm 3.14 or later), or --values with a file from helm get values" -}}
{{- end -}}
{{- end -}}
