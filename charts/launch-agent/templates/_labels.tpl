{{- /* Labels, and the selectors that must never change during a release's life. */ -}}

{{- define "launch-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "launch-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: agent
{{- end -}}

{{- define "launch-agent.labels" -}}
{{- $own := include "launch-agent.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "launch-agent" -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "app.kubernetes.io/version" (.Chart.AppVersion | toString | trunc 63) -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- include "launch-agent.strings" (merge $own (.Values.commonLabels | default dict)) -}}
{{- end -}}

{{- /* Labels of the agent's pod: those above, the admin's own, and what Azure's identity webhook looks for. */ -}}
{{- define "launch-agent.podLabels" -}}
{{- $labels := include "launch-agent.labels" . | fromYaml -}}
{{- if index (.Values.serviceAccount.annotations | default dict) "azure.workload.identity/client-id" -}}
{{- $_ := set $labels "azure.workload.identity/use" "true" -}}
{{- end -}}
{{- $own := include "launch-agent.selectorLabels" . | fromYaml -}}
{{- include "launch-agent.strings" (merge $own (.Values.agent.labels | default dict) $labels) -}}
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
