{{- /* Whether the agent is asked for its health, and how. */ -}}

{{- /*
"true" where the pod has probes. W&B's own agent, published as wandb/launch-agent:0.x, answers none: asking it
would restart it for ever, so its tags turn probes off unless the values say otherwise.
*/ -}}
{{- define "launch-agent.probes.enabled" -}}
{{- $enabled := .Values.agent.probes.enabled -}}
{{- if kindIs "invalid" $enabled -}}
{{- $enabled = not (regexMatch "(^|/)wandb/launch-agent(-dev)?:(0\\.|sdk)" (include "launch-agent.image" .)) -}}
{{- end -}}
{{- and $enabled (gt (int .Values.metrics.port) 0) -}}
{{- end -}}

{{- /* The three probes. */ -}}
{{- define "launch-agent.probes" -}}
{{- if eq (include "launch-agent.probes.enabled" .) "true" -}}
{{- $probes := .Values.agent.probes -}}
{{- range $name, $path := dict "startup" "/livez" "liveness" "/livez" "readiness" "/readyz" }}
{{ $name }}Probe:
  httpGet:
    path: {{ $path }}
    port: metrics
  {{- with get $probes $name }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}
{{- end -}}
