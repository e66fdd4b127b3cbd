{{- /* How the agent is asked for its health. */ -}}

{{- /*
How: `http`, `none`, or `either`. Images of the name wandb/launch-agent may hold this project's agent or W&B's own,
which listens nowhere: asked over HTTP it would be restarted for ever. There a few lines of Python, which both have,
ask over HTTP and let pass who does not listen and has no command `launch-agent`.
*/ -}}
{{- define "launch-agent.probes.how" -}}
{{- $enabled := .Values.agent.probes.enabled -}}
{{- if or (le (int .Values.metrics.port) 0) (and (not (kindIs "invalid" $enabled)) (not $enabled)) -}}
none
{{- else if and (kindIs "invalid" $enabled) (include "launch-agent.image.mayBeUpstream" .) -}}
either
{{- else -}}
http
{{- end -}}
{{- end -}}

{{- /* The three probes; empty where there are none. */ -}}
{{- define "launch-agent.probes" -}}
{{- $how := include "launch-agent.probes.how" . -}}
{{- if ne $how "none" -}}
{{- range $name, $path := dict "startup" "/livez" "liveness" "/livez" "readiness" "/readyz" }}
{{ $name }}Probe:
  {{- if eq $how "http" }}
  httpGet:
    path: {{ $path }}
    port: metrics
  {{- else }}
  exec:
    command:
      - python3
      - -ISc
      - |
        import shutil, socket, sys
        try:
            with socket.create_connection(("127.0.0.1", {{ $.Values.metrics.port }}), 4) as agent:
                agent.sendall(b"GET {{ $path }} HTTP/1.0\r\n\r\n")
                sys.exit(b" 200 " not in agent.recv(64))
        except ConnectionRefusedError:
            sys.exit(shutil.which("launch-agent") is not None)
  {{- end }}
  {{- with get $.Values.agent.probes $name }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}
{{- end -}}
