{{- /*
The Secrets that the chart makes of what the values hold, as JSON: suffix of the name -> key -> text. Where the
values name a Secret of the admin's, none is made.
*/ -}}
{{- define "launch-agent.secrets" -}}
{{- $prefix := include "launch-agent.fullname" . -}}
{{- $secrets := dict -}}
{{- $key := .Values.agent.apiKey | default "" | trim -}}
{{- if and $key (eq (include "launch-agent.apiKeySecret" .) (printf "%s-api-key/password" $prefix)) -}}
{{- $_ := set $secrets "api-key" (dict "password" $key) -}}
{{- end -}}
{{- if and (not .Values.gitCredsSecret.name) (include "launch-agent.gitSecret" .) -}}
{{- $_ := set $secrets "git" (dict ".git-credentials" .Values.gitCreds) -}}
{{- end -}}
{{- if and (not .Values.azureStorageAccessKeySecret.name) (include "launch-agent.azureSecret" .) -}}
{{- $_ := set $secrets "azure-storage" (dict "password" (trim .Values.azureStorageAccessKey)) -}}
{{- end -}}
{{- if and (not .Values.proxy.existingSecret) (include "launch-agent.proxySecret" .) -}}
{{- $proxy := dict -}}
{{- with .Values.proxy.http }}{{ $_ := set $proxy "HTTP_PROXY" . }}{{ end -}}
{{- with .Values.proxy.https }}{{ $_ := set $proxy "HTTPS_PROXY" . }}{{ end -}}
{{- $_ := set $secrets "proxy" $proxy -}}
{{- end -}}
{{- $env := dict -}}
{{- range include "launch-agent.env.own" (.Values.additionalSecretEnvVars | default dict) | fromYamlArray -}}
{{- $_ := set $env .name .value -}}
{{- end -}}
{{- with $env }}{{ $_ := set $secrets "env" . }}{{ end -}}
{{- $secrets | toJson -}}
{{- end -}}

{{- /* The Secrets that the agent itself uses, whoever made them, as a JSON list. No job may read them. */ -}}
{{- define "launch-agent.usedSecrets" -}}
{{- $names := list (include "launch-agent.apiKeySecret" .) (include "launch-agent.gitSecret" .) (include "launch-agent.azureSecret" .) (include "launch-agent.proxySecret" .) -}}
{{- if .Values.additionalSecretEnvVars }}{{ $names = append $names (printf "%s-env" (include "launch-agent.fullname" .)) }}{{ end -}}
{{- range .Values.sshAuthSecrets }}{{ $names = append $names .name }}{{ end -}}
{{- $names = concat $names (list .Values.kanikoDockerConfigSecret .Values.dockerConfigSecret .Values.buildkitTlsSecret .Values.buildSecretsSecret) -}}
{{- range .Values.agent.extraEnvFrom }}{{ $names = append $names (dig "secretRef" "name" "" .) }}{{ end -}}
{{- $bare := list -}}
{{- range compact $names }}{{ $bare = append $bare (splitList "/" . | first) }}{{ end -}}
{{- $bare | uniq | toJson -}}
{{- end -}}

{{- /* The Secret in which launches under way are kept. */ -}}
{{- define "launch-agent.stateSecret" -}}
{{- printf "%s-state" (include "launch-agent.fullname" .) -}}
{{- end -}}

{{- /* The ConfigMaps that the agent mounts beside the chart's own, as a JSON list. */ -}}
{{- define "launch-agent.usedConfigMaps" -}}
{{- $names := list -}}
{{- range list .Values.customCABundle.configMap.name .Values.knownHostsConfigMap.name -}}
{{- $names = append $names . -}}
{{- end -}}
{{- range .Values.agent.extraEnvFrom }}{{ $names = append $names (dig "configMapRef" "name" "" .) }}{{ end -}}
{{- $names | compact | uniq | toJson -}}
{{- end -}}

{{- /*
Annotations whose change replaces the pod: hashes of what the chart makes, and of what it finds in the cluster
(`helm template` and GitOps tools see no cluster: there a rotated Secret of your own needs a restart by hand).
*/ -}}
{{- define "launch-agent.checksums" -}}
checksum/config: {{ include "launch-agent.files" . | sha256sum }}
checksum/secrets: {{ include "launch-agent.secrets" . | sha256sum }}
{{- with .Values.customCABundle.certificates }}
checksum/certificates: {{ sha256sum . }}
{{- end }}
{{- $namespace := include "launch-agent.namespace" . -}}
{{- $made := list -}}
{{- range $suffix, $_ := include "launch-agent.secrets" . | fromJson -}}
{{- $made = append $made (printf "%s-%s" (include "launch-agent.fullname" $) $suffix) -}}
{{- end -}}
{{- $data := list -}}
{{- range include "launch-agent.usedSecrets" . | fromJsonArray -}}
{{- if not (has . $made) }}{{ $data = append $data (get (lookup "v1" "Secret" $namespace . | default dict) "data") }}{{ end -}}
{{- end -}}
{{- range include "launch-agent.usedConfigMaps" . | fromJsonArray -}}
{{- $data = append $data (get (lookup "v1" "ConfigMap" $namespace . | default dict) "data") -}}
{{- end -}}
{{- with compact $data }}
checksum/existing: {{ . | toJson | sha256sum }}
{{- end -}}
{{- end -}}
