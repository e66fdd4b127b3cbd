{{- /* Warnings for NOTES.txt: what works but deserves a look, as a JSON list. */ -}}
{{- define "launch-agent.warnings" -}}
{{- $found := list -}}
{{- $config := include "launch-agent.config" . | fromJson -}}
{{- if .Values.agentConfig -}}
{{- $found = append $found "agentConfig is an older name: rename it to launchConfig." -}}
{{- end -}}
{{- if not (kindIs "invalid" .Values.volcano) -}}
{{- $found = append $found "volcano has no effect: install Volcano with its own chart. For Volcano queues set rbac.customResources to [{apiGroup: batch.volcano.sh, resources: [jobs]}]." -}}
{{- end -}}
{{- if and .Values.namespace (ne .Values.namespace .Release.Namespace) -}}
{{- $found = append $found (printf "namespace puts the agent into %s, and the release is kept in %s: install with --namespace %s and leave `namespace` out." .Values.namespace .Release.Namespace .Values.namespace) -}}
{{- end -}}
{{- if eq (include "launch-agent.minAvailableBlocks" .) "true" -}}
{{- $found = append $found "agent.minAvailable has no effect: it would keep nodes from being drained. To have that, set podDisruptionBudget.minAvailable." -}}
{{- end -}}
{{- if get $config "registry" -}}
{{- $found = append $found "The launch config has the older `registry` block: `builder.destination` takes its place." -}}
{{- end -}}
{{- if get $config "queue" -}}
{{- $found = append $found "The launch config has `queue`, an older form: write `queues`." -}}
{{- end -}}
{{- if and (get $config "base_url") .Values.baseUrl (ne (toString .Values.baseUrl) "https://api.wandb.ai") (ne (get $config "base_url") (toString .Values.baseUrl)) -}}
{{- $found = append $found (printf "baseUrl (%s) goes before the launch config's base_url (%s)." .Values.baseUrl (get $config "base_url")) -}}
{{- end -}}
{{- if and .Values.agent.apiKey (not (eq (include "launch-agent.apiKeySecret" .) (printf "%s-api-key/password" (include "launch-agent.fullname" .)))) -}}
{{- $found = append $found "agent.apiKey is not used: the key comes from a Secret of yours." -}}
{{- end -}}
{{- if and (not .Values.strictHostKeyChecking) .Values.sshAuthSecrets -}}
{{- $found = append $found "strictHostKeyChecking is off: whoever answers for a Git server is trusted." -}}
{{- end -}}
{{- if eq (get (get $config "builder" | default dict) "type" | toString) "docker" -}}
{{- $found = append $found "builder.type is docker: a pod has no Docker engine unless you bring one. Use kaniko, or noop for ready images." -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{- /* "true" where the older agent.minAvailable would block every drain. */ -}}
{{- define "launch-agent.minAvailableBlocks" -}}
{{- $least := .Values.agent.minAvailable -}}
{{- if kindIs "invalid" $least -}}
false
{{- else if hasSuffix "%" (toString $least) -}}
{{- or (eq (toString $least) "100%") (le (include "launch-agent.replicas" . | int) 1) -}}
{{- else -}}
{{- ge (int $least) (include "launch-agent.replicas" . | int) -}}
{{- end -}}
{{- end -}}
