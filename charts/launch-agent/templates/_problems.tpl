{{- /* What cannot work, said all at once, before anything is created: the path, what is wrong, what to write. */ -}}

{{- define "launch-agent.problems" -}}
{{- $found := list -}}
{{- $secret := .Values.agent.apiKeySecret | default dict -}}
{{- if not (or (.Values.agent.apiKey | default "" | trim) $secret.name .Values.agent.useExternalWandbSecret) -}}
{{- $found = append $found "agent.apiKey: there is no API key. Set it, or name the Secret that holds it in agent.apiKeySecret.name" -}}
{{- end -}}
{{- if regexMatch "\\s" (.Values.agent.apiKey | default "" | trim) -}}
{{- $found = append $found "agent.apiKey: it holds white space, which no API key does. Copy it again" -}}
{{- end -}}
{{- $found = concat $found (include "launch-agent.problems.config" . | fromJsonArray) -}}
{{- if and .Values.sshAuthSecrets .Values.strictHostKeyChecking (not (include "launch-agent.knownHostsConfigMap" .)) -}}
{{- $hosts := list -}}
{{- range .Values.sshAuthSecrets }}{{ $hosts = append $hosts .host }}{{ end -}}
{{- $found = append $found (printf "knownHosts: sshAuthSecrets are set, and no host key is known. Put the output of `ssh-keyscan %s` here once you have checked it, or set strictHostKeyChecking to false, which trusts whoever answers" (join " " (uniq $hosts))) -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) .Values.rbac.create -}}
{{- $found = append $found "serviceAccount.name: serviceAccount.create is false, and giving the agent's rights to the namespace's `default` account would give them to every pod. Name the account to use" -}}
{{- end -}}
{{- $ca := .Values.customCABundle | default dict -}}
{{- if and (get ($ca.configMap | default dict) "name") ($ca.certificates | default "" | trim) -}}
{{- $found = append $found "customCABundle: configMap.name and certificates are both set. Keep one of them" -}}
{{- end -}}
{{- $budget := .Values.podDisruptionBudget | default dict -}}
{{- if not (or (kindIs "invalid" $budget.minAvailable) (kindIs "invalid" $budget.maxUnavailable)) -}}
{{- $found = append $found "podDisruptionBudget: minAvailable and maxUnavailable are both set. Kubernetes takes one of them" -}}
{{- end -}}
{{- if $found -}}
{{- fail (printf "\n\nThese values cannot work:\n  %s\n" (join "\n  " $found)) -}}
{{- end -}}
{{- end -}}

{{- /* What is wrong with the launch config, as far as a chart can tell, as a JSON list. */ -}}
{{- define "launch-agent.problems.config" -}}
{{- $found := list -}}
{{- $key := ternary "launchConfig" "agentConfig" (or (not (empty .Values.launchConfig)) (empty .Values.agentConfig)) -}}
{{- $text := include "launch-agent.config.text" . -}}
{{- $parsed := $text | fromYaml -}}
{{- if and .Values.launchConfig .Values.agentConfig -}}
{{- $found = append $found "agentConfig: launchConfig is set too, and they mean the same. Keep launchConfig" -}}
{{- else if not (trim $text) -}}
{{- $found = append $found "launchConfig: there is no launch config. Put the contents of your launch-config.yaml here, at least `queues: [<queue>]`" -}}
{{- else if regexMatch "(?m)^ *\t" $text -}}
{{- range $index, $line := splitList "\n" $text -}}
{{- if and (not $found) (regexMatch "^ *\t" $line) -}}
{{- $found = append $found (printf "%s: line %d is indented with a tab, which YAML does not allow. Use spaces" $key (add1 $index)) -}}
{{- end -}}
{{- end -}}
{{- else if hasKey $parsed "Error" -}}
{{- $reason := get $parsed "Error" | replace "error converting YAML to JSON: " "" | replace "error unmarshaling JSON: " "" -}}
{{- if contains "cannot unmarshal" $reason -}}
{{- $reason = "it is not a mapping of keys to values" -}}
{{- end -}}
{{- $found = append $found (printf "%s: it is not a launch config: %s. `launch-agent lint` shows the place" $key $reason) -}}
{{- else -}}
{{- /* In `kaniko-config` and `buildkit-config` stand arguments of other programs, where `<` may be meant. */ -}}
{{- $own := merge (dict "builder" (omit (kindIs "map" (get $parsed "builder") | ternary (get $parsed "builder") dict) "kaniko-config" "buildkit-config")) (omit $parsed "builder") -}}
{{- $holes := regexFindAll "<[A-Za-z][^<>\n]*>" (toYaml $own) -1 -}}
{{- if $holes -}}
{{- $found = append $found (printf "%s: %s stands for a value of your own. Fill it in, without < and >" $key (join ", " (uniq $holes))) -}}
{{- end -}}
{{- if empty (include "launch-agent.config.queues" . | fromJsonArray) -}}
{{- $found = append $found (printf "%s.queues: no queue is named, so the agent would have nothing to do. Write `queues: [<queue>]`" $key) -}}
{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}
