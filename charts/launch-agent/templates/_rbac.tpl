{{- /* What the agent may do, and why. Nothing is cluster-wide unless the values ask for it. */ -}}

{{- define "launch-agent.rules" -}}
# A run on the cluster is a Job. It is watched and stopped; changed are marks that say what was reported, and
# its time to live, which begins with the report.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, get, list, watch, patch, delete]
# What becomes of its pods: state, reasons for not starting, the last lines of its output.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# Each run has a Secret of its own for its API key, which belongs to the run's object and goes with it. The
# agent cannot read these. W&B's own agent hands none over, and deletes that of a run which is stopped.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, patch{{ if include "launch-agent.image.mayBeUpstream" . }}, delete{{ end }}]
{{- if .Values.rbac.additionalServices }}
# What a job brings beside itself. It belongs to the run's object and goes with it.
- apiGroups: [""]
  resources: [pods, services]
  verbs: [create, get]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [create, get]
{{- end }}
{{- range .Values.rbac.customResources }}
- apiGroups: [{{ .apiGroup | quote }}]
  resources:
    {{- toYaml .resources | nindent 4 }}
  verbs:
    {{- .verbs | default (list "create" "get" "list" "watch" "patch" "delete") | toYaml | nindent 4 }}
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
