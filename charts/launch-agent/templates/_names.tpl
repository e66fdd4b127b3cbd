{{- /* Names of everything the chart makes, and of what it uses that somebody else made. */ -}}

{{- define "launch-agent.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{- /*
The release's name, with the chart's appended unless it is a word of it already. The agent's policy knows the
Secrets of an agent by this form.
*/ -}}
{{- define "launch-agent.fullname" -}}
{{- $name := include "launch-agent.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if regexMatch (printf "(^|-)%s(-|$)" (regexQuoteMeta $name)) .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name -}}
{{- end -}}
{{- end -}}

{{- define "launch-agent.namespace" -}}
{{- .Values.namespace | default .Release.Namespace -}}
{{- end -}}

{{- /* Name of objects outside of the agent's namespace, where agents of several namespaces meet. */ -}}
{{- define "launch-agent.foreignName" -}}
{{- printf "%s-%s" (include "launch-agent.namespace" .) (include "launch-agent.fullname" .) -}}
{{- end -}}

{{- define "launch-agent.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "launch-agent.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- /* What the agent calls itself: its own in the cluster, since it finds its runs by it. 63 characters at most. */ -}}
{{- define "launch-agent.agentName" -}}
{{- $name := printf "%s.%s" .Release.Name (include "launch-agent.namespace" .) -}}
{{- if gt (len $name) 63 -}}
{{- $name = printf "%s-%s" ($name | trunc 54 | trimAll ".-") ($name | sha256sum | trunc 8) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- /* The number of agents; 1 where it is set to null. */ -}}
{{- define "launch-agent.replicas" -}}
{{- kindIs "invalid" .Values.agent.replicas | ternary 1 .Values.agent.replicas -}}
{{- end -}}

{{- /* A Service's name is a DNS label: 63 characters at most. */ -}}
{{- define "launch-agent.metricsServiceName" -}}
{{- printf "%s-metrics" (include "launch-agent.fullname" . | trunc 55 | trimSuffix "-") -}}
{{- end -}}

{{- /* The Secret and key that hold the API key, as "name/key". */ -}}
{{- define "launch-agent.apiKeySecret" -}}
{{- $given := .Values.agent.apiKeySecret | default dict -}}
{{- if $given.name -}}
{{- printf "%s/%s" $given.name ($given.key | default "password") -}}
{{- else if .Values.agent.useExternalWandbSecret -}}
{{- printf "wandb-api-key-%s/%s" .Release.Name ($given.key | default "password") -}}
{{- else -}}
{{- printf "%s-api-key/password" (include "launch-agent.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- /* The Secret and key that hold Git credentials, as "name/key"; empty where there are none. */ -}}
{{- define "launch-agent.gitSecret" -}}
{{- $given := .Values.gitCredsSecret | default dict -}}
{{- if $given.name -}}
{{- printf "%s/%s" $given.name ($given.key | default ".git-credentials") -}}
{{- else if .Values.gitCreds | default "" | trim -}}
{{- printf "%s-git/.git-credentials" (include "launch-agent.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- /* The Secret and key that hold the Azure storage key, as "name/key"; empty where there is none. */ -}}
{{- define "launch-agent.azureSecret" -}}
{{- $given := .Values.azureStorageAccessKeySecret | default dict -}}
{{- if $given.name -}}
{{- printf "%s/%s" $given.name ($given.key | default "password") -}}
{{- else if .Values.azureStorageAccessKey | default "" | trim -}}
{{- printf "%s-azure-storage/password" (include "launch-agent.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- /* The Secret that holds HTTP_PROXY and HTTPS_PROXY; empty where there is no proxy. */ -}}
{{- define "launch-agent.proxySecret" -}}
{{- $proxy := .Values.proxy | default dict -}}
{{- if $proxy.existingSecret -}}
{{- $proxy.existingSecret -}}
{{- else if or $proxy.http $proxy.https -}}
{{- printf "%s-proxy" (include "launch-agent.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- /* The ConfigMap and key that hold certificate authorities, as "name/key"; empty where there are none. */ -}}
{{- define "launch-agent.caConfigMap" -}}
{{- $ca := .Values.customCABundle | default dict -}}
{{- $given := $ca.configMap | default dict -}}
{{- if $given.name -}}
{{- printf "%s/%s" $given.name ($given.key | default "ca.crt") -}}
{{- else if $ca.certificates | default "" | trim -}}
{{- printf "%s-ca/ca.crt" (include "launch-agent.foreignName" .) -}}
{{- end -}}
{{- end -}}

{{- /* The ConfigMap and key that hold SSH host keys, as "name/key"; empty where there are none. */ -}}
{{- define "launch-agent.knownHostsConfigMap" -}}
{{- $given := .Values.knownHostsConfigMap | default dict -}}
{{- if $given.name -}}
{{- printf "%s/%s" $given.name ($given.key | default "known_hosts") -}}
{{- else if .Values.knownHosts | default "" | trim -}}
{{- printf "%s/known_hosts" (include "launch-agent.fullname" .) -}}
{{- end -}}
{{- end -}}
