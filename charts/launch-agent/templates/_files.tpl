{{- /*
The files that the agent and its Git read, as the data of the chart's ConfigMap. They go through toYaml, which
can write any text: one that begins with blanks or ends lines in its own way too.
*/ -}}
{{- define "launch-agent.files" -}}
{{- $files := dict "launch-config.yaml" (include "launch-agent.config.text" . | trimSuffix "\n" | printf "%s\n") -}}
{{- if include "launch-agent.gitSecret" . -}}
{{- $_ := set $files "gitconfig" (include "launch-agent.files.gitconfig" . | printf "%s\n") -}}
{{- end -}}
{{- if .Values.sshAuthSecrets -}}
{{- $_ := set $files "ssh_config" (include "launch-agent.files.ssh" . | printf "%s\n") -}}
{{- end -}}
{{- if and (.Values.knownHosts | default "" | trim) (not .Values.knownHostsConfigMap.name) -}}
{{- $_ := set $files "known_hosts" .Values.knownHosts -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{- /* The helper only reads: Git would store what worked as well, and the folder is read-only. */ -}}
{{- define "launch-agent.files.gitconfig" -}}
[credential]
    helper = "!f() { test \"$1\" != get || git credential-store --file /etc/launch-agent/git/credentials get; }; f"
{{- end -}}

{{- define "launch-agent.files.ssh" -}}
{{- range $index, $secret := .Values.sshAuthSecrets -}}
Host {{ $secret.host }}
    IdentityFile /etc/launch-agent/ssh/key-{{ $index }}
    IdentitiesOnly yes
{{ end -}}
Host *
    BatchMode yes
{{- if .Values.strictHostKeyChecking }}
    StrictHostKeyChecking yes
    UserKnownHostsFile /etc/launch-agent/ssh/known_hosts
{{- else }}
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
{{- end }}
    GlobalKnownHostsFile /dev/null
{{- end -}}
