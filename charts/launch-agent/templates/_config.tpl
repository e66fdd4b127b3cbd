{{- /* The launch config: its text as the agent gets it, and what the chart itself reads in it. */ -}}

{{- /* What the user gave, as {"given": …}: a text, a mapping or null. */ -}}
{{- define "launch-agent.config.given" -}}
{{- $given := .Values.launchConfig -}}
{{- if not $given -}}
{{- $given = .Values.agentConfig -}}
{{- end -}}
{{- dict "given" $given | toJson -}}
{{- end -}}

{{- /*
The text of launch-config.yaml. A text stays as it is, comments and all, so that the agent's messages name
the user's own lines. A mapping without a builder gets `noop`: a pod has no Docker engine.
*/ -}}
{{- define "launch-agent.config.text" -}}
{{- $given := (include "launch-agent.config.given" . | fromJson).given -}}
{{- if kindIs "string" $given -}}
{{- $given -}}
{{- else if kindIs "map" $given -}}
{{- $builder := get $given "builder" | default dict -}}
{{- if not (get $builder "type") -}}
{{- $_ := set $given "builder" (merge (dict "type" "noop") $builder) -}}
{{- end -}}
{{- toYaml $given -}}
{{- end -}}
{{- end -}}

{{- /* The config as JSON; an empty mapping where the text is none, which `launch-agent.problems` tells. */ -}}
{{- define "launch-agent.config" -}}
{{- $config := (include "launch-agent.config.given" . | fromJson).given -}}
{{- if kindIs "string" $config -}}
{{- $config = $config | replace "\t" "    " | fromYaml -}}
{{- end -}}
{{- if or (not $config) (hasKey $config "Error") -}}
{{- $config = dict -}}
{{- end -}}
{{- $config | toJson -}}
{{- end -}}

{{- /* The queues that are named, as a JSON list. */ -}}
{{- define "launch-agent.config.queues" -}}
{{- $config := include "launch-agent.config" . | fromJson -}}
{{- $queues := list -}}
{{- range $key := list "queues" "queue" -}}
{{- $value := get $config $key -}}
{{- if kindIs "slice" $value -}}
{{- $queues = concat $queues $value -}}
{{- else if and $value (kindIs "string" $value) -}}
{{- $queues = append $queues $value -}}
{{- end -}}
{{- end -}}
{{- $queues | uniq | toJson -}}
{{- end -}}

{{- /* Every namespace that jobs may go to, the agent's own first, each once, as a JSON list. */ -}}
{{- define "launch-agent.targetNamespaces" -}}
{{- $runner := get (include "launch-agent.config" . | fromJson) "runner" -}}
{{- $kubernetes := get (kindIs "map" $runner | ternary $runner dict) "kubernetes" -}}
{{- $names := list (include "launch-agent.namespace" .) -}}
{{- $names = concat $names (.Values.additionalTargetNamespaces | default list) -}}
{{- if kindIs "map" $kubernetes -}}
{{- $names = append $names (get $kubernetes "namespace") -}}
{{- $names = concat $names (get $kubernetes "target-namespaces" | default list) -}}
{{- end -}}
{{- $names | compact | uniq | toJson -}}
{{- end -}}

{{- /* "true" where the image's name is that of W&B's own agent, whichever agent is in it; else empty. */ -}}
{{- define "launch-agent.image.mayBeUpstream" -}}
{{- if regexMatch "(^|/)wandb/launch-agent(-dev)?[:@]" (include "launch-agent.image" .) }}true{{ end -}}
{{- end -}}

{{- /* The image of the agent: `agent.image`, with what `image` and `global` put in place of its parts. */ -}}
{{- define "launch-agent.image" -}}
{{- $image := .Values.image | default dict -}}
{{- $given := .Values.agent.image | default "wandb/launch-agent:latest" -}}
{{- $digest := $image.digest | default "" -}}
{{- $name := $given -}}
{{- if contains "@" $given -}}
{{- $digest = $digest | default (regexFind "[^@]+$" $given) -}}
{{- $name = regexFind "^[^@]+" $given -}}
{{- end -}}
{{- $tag := regexFind ":[^:/]+$" $name -}}
{{- $name = trimSuffix $tag $name -}}
{{- $registry := "" -}}
{{- if regexMatch "^([^/]*[.:][^/]*|localhost)/" $name -}}
{{- $registry = regexFind "^[^/]+" $name -}}
{{- $name = regexReplaceAll "^[^/]+/" $name "" -}}
{{- end -}}
{{- $global := .Values.global | default dict -}}
{{- $registry = $image.registry | default $global.imageRegistry | default $registry | trimSuffix "/" -}}
{{- $name = $image.repository | default $name -}}
{{- $full := ternary (printf "%s/%s" $registry $name) $name (ne $registry "") -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $full $digest -}}
{{- else if $image.tag -}}
{{- printf "%s:%s" $full $image.tag -}}
{{- else if $digest -}}
{{- printf "%s%s@%s" $full $tag $digest -}}
{{- else -}}
{{- printf "%s%s" $full ($tag | default ":latest") -}}
{{- end -}}
{{- end -}}
