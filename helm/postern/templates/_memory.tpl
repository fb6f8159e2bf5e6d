{{/* Bytes of a quantity such as 512Mi; -1 of what is none. */}}
{{- define "postern.bytes" -}}
{{- $factors := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $text := toString . -}}
{{- if kindIs "float64" . }}{{ $text = printf "%.0f" . }}{{ end -}}
{{- if regexMatch "^[0-9]+(\\.[0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$" $text -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{ mulf (float64 $number) (float64 (get $factors (trimPrefix $number $text))) | floor | int64 }}
{{- else -}}
-1
{{- end -}}
{{- end -}}

{{/* The server refuses to start where its hashing threads do not fit beside everything else; and what does not fit is killed in a storm
of sign-ins. So the limit follows from the settings. */}}
{{- define "postern.neededMib" -}}
{{ add (int64 .Values.memory.baseMib) (div (add (mul (int64 .Values.passwords.threads) (int64 .Values.passwords.memoryKib)) 1023) 1024) }}
{{- end -}}

{{- define "postern.resources" -}}
{{- $computed := printf "%sMi" (include "postern.neededMib" .) -}}
{{- $limits := merge (deepCopy (.Values.resources.limits | default dict)) (dict "memory" $computed) -}}
{{- $requests := merge (deepCopy (.Values.resources.requests | default dict)) (dict "memory" (get $limits "memory")) -}}
{{- merge (dict "limits" $limits "requests" $requests) (deepCopy .Values.resources) | toYaml -}}
{{- end -}}
