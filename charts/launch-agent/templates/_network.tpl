{{- /* The ways out of the cluster: proxy, certificate authorities, SSH, ports. */ -}}

{{- /* Proxy, certificate authorities and SSH, for the agent and the programs it starts. */ -}}
{{- define "launch-agent.env.network" -}}
{{- $passed := list -}}
{{- with $secret := include "launch-agent.proxySecret" . }}
{{- range $name := list "HTTP_PROXY" "HTTPS_PROXY" }}
{{- range $variable := list $name (lower $name) }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $name }}
      optional: true
{{- end }}
{{- end }}
{{- $passed = list "HTTP_PROXY" "HTTPS_PROXY" "NO_PROXY" "http_proxy" "https_proxy" "no_proxy" }}
{{- end }}
{{- if $passed }}
{{- $direct := concat (.Values.proxy.noProxy | default list) (list "localhost" "127.0.0.1" ".svc" ".cluster.local" "$(KUBERNETES_SERVICE_HOST)") | uniq | join "," }}
{{- range $variable := list "NO_PROXY" "no_proxy" }}
- name: {{ $variable }}
  value: {{ $direct | quote }}
{{- end }}
{{- end }}
{{- with include "launch-agent.caConfigMap" . }}
{{- range $variable := list "SSL_CERT_FILE" "REQUESTS_CA_BUNDLE" "CURL_CA_BUNDLE" "GIT_SSL_CAINFO" "AWS_CA_BUNDLE" "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" }}
- name: {{ $variable }}
  value: /etc/launch-agent/ca/ca.crt
{{- end }}
- name: LAUNCH_AGENT_CA_CONFIGMAP
  value: {{ . | quote }}
{{- end }}
{{- if $passed }}
- name: LAUNCH_AGENT_PASS_ON
  value: {{ join "," $passed | quote }}
{{- end }}
{{- if .Values.sshAuthSecrets }}
- name: GIT_SSH_COMMAND
  value: ssh -F /etc/launch-agent/ssh/config
{{- end }}
{{- end -}}

{{- /* TCP ports that the agent needs, as a JSON list: the admin's, and those that other values speak of. */ -}}
{{- define "launch-agent.egressPorts" -}}
{{- $ports := list -}}
{{- range .Values.networkPolicy.ports }}{{ $ports = append $ports (int .) }}{{ end -}}
{{- $config := include "launch-agent.config" . | fromJson -}}
{{- range compact (list .Values.baseUrl (get $config "base_url") .Values.proxy.http .Values.proxy.https) -}}
{{- $port := regexFind ":[0-9]+$" (get (urlParse .) "host") | trimPrefix ":" -}}
{{- $ports = append $ports ($port | default (hasPrefix "https:" . | ternary "443" "80") | int) -}}
{{- end -}}
{{- $builder := kindIs "map" (get $config "builder") | ternary (get $config "builder") dict -}}
{{- $daemon := get $builder "buildkit-address" | toString -}}
{{- if hasPrefix "tcp://" $daemon }}{{ $ports = append $ports (regexFind "[0-9]+$" $daemon | int) }}{{ end -}}
{{- if .Values.sshAuthSecrets }}{{ $ports = append $ports 22 }}{{ end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
