{{- /* Labels, and the selectors that must never change during a release's life. */ -}}

{{- define "launch-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "launch-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: agent
{{- end -}}

{{- define "launch-agent.labels" -}}
{{- include "launch-agent.strings" (merge (include "launch-agent.ownLabels" . | fromJson) (.Values.commonLabels | default dict)) -}}
{{- end -}}

{{- define "launch-agent.ownLabels" -}}
{{- dict
  "app.kubernetes.io/name" (include "launch-agent.name" .)
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/component" "agent"
  "app.kubernetes.io/part-of" "launch-agent"
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/version" (.Chart.AppVersion | toString | trunc 63)
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  | toJson -}}
{{- end -}}

{{- /*
Labels of the agent's pod: those above, the admin's own, and what Azure's identity webhook looks for. Without the
chart's version: a new one that changes nothing else need not replace the pod.
*/ -}}
{{- define "launch-agent.podLabels" -}}
{{- $own := include "launch-agent.ownLabels" . | fromJson -}}
{{- $fixed := pick $own "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" -}}
{{- $identity := dict -}}
{{- if index (.Values.serviceAccount.annotations | default dict) "azure.workload.identity/client-id" -}}
{{- $_ := set $identity "azure.workload.identity/use" "true" -}}
{{- end -}}
{{- include "launch-agent.strings" (merge $fixed (.Values.agent.labels | default dict) (omit $own "helm.sh/chart") (.Values.commonLabels | default dict) $identity) -}}
{{- end -}}

{{- /* A mapping as YAML whose values are all texts, without the empty ones: null is no annotation. */ -}}
{{- define "launch-agent.strings" -}}
{{- $texts := dict -}}
{{- range $key, $value := . -}}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) -}}
{{- $_ := set $texts $key (include "launch-agent.text" $value) -}}
{{- end -}}
{{- end -}}
{{- with $texts }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- /* A scalar as text. YAML's numbers arrive as floats, which would print 1000000 as 1e+06. */ -}}
{{- define "launch-agent.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}
{{- int64 . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{- /* A number, or a percentage in quotes, whichever way it was given. */ -}}
{{- define "launch-agent.intOrPercent" -}}
{{- if hasSuffix "%" (toString .) }}{{ . | quote }}{{ else }}{{ int . }}{{ end -}}
{{- end -}}
