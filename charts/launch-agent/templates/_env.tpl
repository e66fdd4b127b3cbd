{{- /*
Environment variables of the agent's container. Secrets come by reference; nothing here holds one.

The config takes WANDB_BASE_URL, WANDB_LAUNCH_START_TIMEOUT and LAUNCH_AGENT_{NAME,STATE_DIR,STATE_SECRET,LEASE,
METRICS_HOST,METRICS_PORT,TARGET_NAMESPACES,PROTECTED_SECRETS}. What starts things on the cluster takes these:
  WANDB_LAUNCH_SERVICE_ACCOUNT_NAME          account of builds
  WANDB_LAUNCH_KANIKO_PVC_{NAME,MOUNT_PATH}  claim for build contexts, and where the agent has it
  WANDB_LAUNCH_KANIKO_AUTH_SECRET            Secret with which builds push
  LAUNCH_AGENT_BUILDKIT_TLS                  folder with the certificates for a BuildKit daemon
  LAUNCH_AGENT_BUILD_SECRETS                 folder with the files that build steps may read
  LAUNCH_AGENT_AZURE_STORAGE_SECRET          "name/key" of the storage key, for builds
  LAUNCH_AGENT_CA_CONFIGMAP                  "name/key" of authorities, in the namespace of each run and build
  LAUNCH_AGENT_PASS_ON                       variables of the agent that runs and builds get as well
  LAUNCH_AGENT_IMAGE                         the agent's own image, which fetches code for runs without a build
*/ -}}

{{- /* One variable from a "name/key" pair. Takes (list variable pair). */ -}}
{{- define "launch-agent.env.secret" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 | splitList "/" | first }}
      key: {{ index . 1 | splitList "/" | last | quote }}
{{- end -}}

{{- /*
The admin's own variables as a list: a mapping of names to values, or a list as in a pod. Takes the value.
*/ -}}
{{- define "launch-agent.env.own" -}}
{{- $list := list -}}
{{- if kindIs "map" . -}}
{{- range $name, $value := . -}}
{{- if kindIs "map" $value -}}
{{- $list = append $list (merge (dict "name" $name) $value) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $list = append $list (dict "name" $name "value" (include "launch-agent.text" $value)) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- range . -}}
{{- if hasKey . "valueFrom" -}}
{{- $list = append $list . -}}
{{- else -}}
{{- $value := get . "value" -}}
{{- $list = append $list (dict "name" .name "value" (kindIs "invalid" $value | ternary "" (include "launch-agent.text" $value))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $list -}}
{{- end -}}

{{- /* All variables. The admin's own go before the chart's of the same name: a pod has each name once. */ -}}
{{- define "launch-agent.env" -}}
{{- $own := include "launch-agent.env.own" (.Values.additionalEnvVars | default dict) | fromYamlArray -}}
{{- $taken := dict -}}
{{- range $own }}{{ $_ := set $taken .name true }}{{ end -}}
{{- range include "launch-agent.env.secretNames" . | fromJsonArray }}{{ $_ := set $taken . true }}{{ end -}}
{{- $all := list -}}
{{- range include "launch-agent.env.chart" . | fromYamlArray -}}
{{- if not (hasKey $taken .name) }}{{ $all = append $all . }}{{ end -}}
{{- end -}}
{{- concat $all $own | toYaml -}}
{{- end -}}

{{- /* The names in the chart's Secret of variables, as a JSON list. */ -}}
{{- define "launch-agent.env.secretNames" -}}
{{- $names := list -}}
{{- range include "launch-agent.env.own" (.Values.additionalSecretEnvVars | default dict) | fromYamlArray -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{- /* The chart's own variables. */ -}}
{{- define "launch-agent.env.chart" -}}
{{- $config := include "launch-agent.config" . | fromJson -}}
{{ include "launch-agent.env.secret" (list "WANDB_API_KEY" (include "launch-agent.apiKeySecret" .)) }}
{{- /* The agent lets the environment go before its file: what the file says must not be undone by a default. */}}
{{- $url := .Values.baseUrl | default "https://api.wandb.ai" }}
{{- if or (ne $url "https://api.wandb.ai") (not (get $config "base_url")) }}
- name: WANDB_BASE_URL
  value: {{ $url | quote }}
{{- end }}
{{- $timeout := kindIs "invalid" .Values.agent.startTimeout | ternary "1800" (include "launch-agent.text" .Values.agent.startTimeout) }}
{{- if or (ne $timeout "1800") (not (hasKey $config "start-timeout")) }}
- name: WANDB_LAUNCH_START_TIMEOUT
  value: {{ $timeout | quote }}
{{- end }}
{{- if not (get $config "name") }}
- name: LAUNCH_AGENT_NAME
  value: {{ include "launch-agent.agentName" . }}
{{- end }}
- name: LAUNCH_AGENT_IMAGE
  value: {{ include "launch-agent.image" . | quote }}
- name: LAUNCH_AGENT_STATE_DIR
  value: /var/lib/launch-agent
- name: LAUNCH_AGENT_METRICS_HOST
  value: 0.0.0.0
- name: LAUNCH_AGENT_METRICS_PORT
  value: {{ int .Values.metrics.port | quote }}
- name: LAUNCH_AGENT_TARGET_NAMESPACES
  value: {{ empty .Values.rbac.clusterWide | ternary (include "launch-agent.targetNamespaces" . | fromJsonArray | join ",") "*" | quote }}
- name: LAUNCH_AGENT_PROTECTED_SECRETS
  value: {{ include "launch-agent.usedSecrets" . | fromJsonArray | join "," | quote }}
- name: LAUNCH_AGENT_STATE_SECRET
  value: {{ printf "%s/%s" (include "launch-agent.namespace" .) (include "launch-agent.stateSecret" .) | quote }}
{{- if gt (include "launch-agent.replicas" . | int) 1 }}
- name: LAUNCH_AGENT_LEASE
  value: {{ printf "%s/%s" (include "launch-agent.namespace" .) (include "launch-agent.fullname" .) | quote }}
{{- end }}
- name: WANDB_LAUNCH_SERVICE_ACCOUNT_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.serviceAccountName
- name: HOME
  value: /home/launch_agent
{{- include "launch-agent.env.network" . }}
{{- include "launch-agent.env.builds" . }}
{{- end -}}

{{- /* What image builds need to know. */ -}}
{{- define "launch-agent.env.builds" -}}
{{- with .Values.kanikoPvcName }}
- name: WANDB_LAUNCH_KANIKO_PVC_NAME
  value: {{ . | quote }}
- name: WANDB_LAUNCH_KANIKO_PVC_MOUNT_PATH
  value: /kaniko
{{- end }}
{{- with .Values.kanikoDockerConfigSecret }}
- name: WANDB_LAUNCH_KANIKO_AUTH_SECRET
  value: {{ . | quote }}
{{- end }}
{{- if .Values.dockerConfigSecret }}
- name: DOCKER_CONFIG
  value: /etc/launch-agent/docker
{{- end }}
{{- if .Values.buildkitTlsSecret }}
- name: LAUNCH_AGENT_BUILDKIT_TLS
  value: /etc/launch-agent/buildkit
{{- end }}
{{- if .Values.buildSecretsSecret }}
- name: LAUNCH_AGENT_BUILD_SECRETS
  value: /etc/launch-agent/build-secrets
{{- end }}
{{- with include "launch-agent.azureSecret" . }}
{{ include "launch-agent.env.secret" (list "AZURE_STORAGE_KEY" .) }}
- name: LAUNCH_AGENT_AZURE_STORAGE_SECRET
  value: {{ . | quote }}
{{- end }}
{{- end -}}
