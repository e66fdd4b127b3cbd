{{- /* What the agent may do, and why. Nothing is cluster-wide unless the values ask for it. */ -}}

{{- define "launch-agent.rules" -}}
# A run on the cluster is a Job; it is watched, stopped, and never changed.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, get, list, watch, delete]
- apiGroups: [batch]
  resources: [jobs/status]
  verbs: [get]
# What becomes of its pods: state, reasons for not starting, the last lines of its output.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [list, watch]
# Each run has a Secret of its own for its API key, handed over to the run's object and removed with it. The
# agent cannot read any Secret.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, patch, delete]
{{- range .Values.rbac.customResources }}
- apiGroups: [{{ .apiGroup | quote }}]
  resources:
    {{- toYaml .resources | nindent 4 }}
  verbs:
    {{- .verbs | default (list "create" "get" "list" "watch" "delete") | toYaml | nindent 4 }}
{{- end }}
{{- with .Values.rbac.rules }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "launch-agent.subjects" -}}
- kind: ServiceAccount
  name: {{ include "launch-agent.serviceAccountName" . }}
  namespace: {{ include "launch-agent.namespace" . }}
{{- end -}}

{{- /* Name of the Role in a namespace. Takes (list context namespace). */ -}}
{{- define "launch-agent.roleName" -}}
{{- if eq (index . 1) (include "launch-agent.namespace" (index . 0)) -}}
{{- include "launch-agent.fullname" (index . 0) -}}
{{- else -}}
{{- include "launch-agent.foreignName" (index . 0) -}}
{{- end -}}
{{- end -}}
