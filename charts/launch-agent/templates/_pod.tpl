{{- /* What the agent's pod mounts. */ -}}

{{- define "launch-agent.volumes" -}}
{{- $name := include "launch-agent.fullname" . -}}
- name: config
  configMap:
    name: {{ $name }}
    items:
      - key: launch-config.yaml
        path: launch-config.yaml
- name: home
  emptyDir: {}
- name: tmp
  emptyDir: {}
- name: state
  {{- .Values.agent.stateVolume | default (dict "emptyDir" dict) | toYaml | nindent 2 }}
{{- with include "launch-agent.gitSecret" . }}
- name: git
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ splitList "/" . | first }}
          items:
            - key: {{ splitList "/" . | last | quote }}
              path: credentials
      - configMap:
          name: {{ $name }}
          items:
            - key: gitconfig
              path: config
{{- end }}
{{- if .Values.sshAuthSecrets }}
- name: ssh
  projected:
    defaultMode: 0440
    sources:
      - configMap:
          name: {{ $name }}
          items:
            - key: ssh_config
              path: config
      {{- with include "launch-agent.knownHostsConfigMap" . }}
      - configMap:
          name: {{ splitList "/" . | first }}
          items:
            - key: {{ splitList "/" . | last | quote }}
              path: known_hosts
      {{- end }}
      {{- range $index, $secret := .Values.sshAuthSecrets }}
      - secret:
          name: {{ $secret.name }}
          items:
            - key: {{ $secret.key | default "ssh-privatekey" | quote }}
              path: key-{{ $index }}
      {{- end }}
{{- end }}
{{- with include "launch-agent.caConfigMap" . }}
- name: ca
  configMap:
    name: {{ splitList "/" . | first }}
    items:
      - key: {{ splitList "/" . | last | quote }}
        path: ca.crt
{{- end }}
{{- with .Values.kanikoPvcName }}
- name: kaniko
  persistentVolumeClaim:
    claimName: {{ . }}
{{- end }}
{{- with .Values.dockerConfigSecret }}
- name: docker-config
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - key: .dockerconfigjson
        path: config.json
{{- end }}
{{- with .Values.buildkitTlsSecret }}
- name: buildkit
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.buildSecretsSecret }}
- name: build-secrets
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "launch-agent.mounts" -}}
- name: home
  mountPath: /home/launch_agent
- name: config
  mountPath: /home/launch_agent/.config/wandb
  readOnly: true
- name: tmp
  mountPath: /tmp
- name: state
  mountPath: /var/lib/launch-agent
{{- if include "launch-agent.gitSecret" . }}
- name: git
  mountPath: /etc/launch-agent/git
  readOnly: true
- name: git
  mountPath: /home/launch_agent/.gitconfig
  subPath: config
  readOnly: true
{{- end }}
{{- if .Values.sshAuthSecrets }}
- name: ssh
  mountPath: /etc/launch-agent/ssh
  readOnly: true
{{- end }}
{{- if include "launch-agent.caConfigMap" . }}
- name: ca
  mountPath: /etc/launch-agent/ca
  readOnly: true
{{- end }}
{{- if .Values.kanikoPvcName }}
- name: kaniko
  mountPath: /kaniko
{{- end }}
{{- if .Values.dockerConfigSecret }}
- name: docker-config
  mountPath: /etc/launch-agent/docker
  readOnly: true
{{- end }}
{{- if .Values.buildkitTlsSecret }}
- name: buildkit
  mountPath: /etc/launch-agent/buildkit
  readOnly: true
{{- end }}
{{- if .Values.buildSecretsSecret }}
- name: build-secrets
  mountPath: /etc/launch-agent/build-secrets
  readOnly: true
{{- end }}
{{- end -}}

{{- /* Credentials for pulling the agent's image; entries are names, or mappings with a name as in a pod. */ -}}
{{- define "launch-agent.pullSecrets" -}}
{{- $names := list -}}
{{- range concat (get (.Values.global | default dict) "imagePullSecrets" | default list) (.Values.imagePullSecrets | default list) -}}
{{- $names = append $names (dict "name" (kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") .)) -}}
{{- end -}}
{{- with uniq $names }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
