{{/* postern.toml. Everything that is secret is named by the path where it is mounted. */}}

{{- define "postern.secrets" -}}/run/secrets/postern{{- end -}}

{{/* The settings as JSON: what was given freely, and over it what the chart knows. */}}
{{- define "postern.settings" -}}
{{- $at := include "postern.secrets" . -}}
{{- $v := .Values -}}
{{- $address := $v.listen.address -}}
{{- $listen := dict
  "grpc" (printf "%s:7301" $address)
  "operations" (printf "%s:7303" $address)
  "admin" (printf "%s:7304" (ternary $address $v.listen.adminLoopback $v.admin.enabled)) -}}
{{- if $v.gateway.enabled }}{{ $_ := set $listen "gateway" (printf "%s:7302" $address) }}{{ end -}}
{{- $own := dict "profile" "production" "issuer" (dict "url" $v.issuerUrl) -}}
{{- if include "postern.hasTls" . -}}
{{- $tls := dict "certificate" (printf "%s/tls.crt" $at) "key" (printf "%s/tls.key" $at) -}}
{{- if $v.tls.clientCa.existingSecret }}{{ $_ := set $tls "client_ca" (printf "%s/clients-ca.crt" $at) }}{{ end -}}
{{- if $v.tls.requireClientCertificate }}{{ $_ := set $tls "require_client_certificate" true }}{{ end -}}
{{- $_ := set $own "tls" $tls -}}
{{- else -}}
{{- $_ := set $listen "insecure" "mesh" -}}
{{- end -}}
{{- $_ := set $own "listen" $listen -}}

{{- if include "postern.onSqlite" . -}}
{{- $_ := set $own "data_dir" "/var/lib/postern" -}}
{{- $_ := set $own "store" (dict "sqlite" dict) -}}
{{- else -}}
{{- $postgres := dict "url" (dict "file" (printf "%s/postgres-url" $at)) "pool_size" $v.store.postgres.poolSize -}}
{{- if $v.store.postgres.pooler }}{{ $_ := set $postgres "pooler" true }}{{ end -}}
{{- $_ := set $own "store" (dict "postgres" $postgres) -}}
{{- end -}}

{{- if eq $v.vault.engine "redis" -}}
{{- $redis := dict "url" (dict "file" (printf "%s/redis-url" $at)) -}}
{{- if $v.vault.redis.passwordKey }}{{ $_ := set $redis "password" (dict "file" (printf "%s/redis-password" $at)) }}{{ end -}}
{{- if $v.vault.redis.caKey }}{{ $_ := set $redis "ca" (printf "%s/redis-ca.crt" $at) }}{{ end -}}
{{- with $v.vault.redis.username }}{{ $_ := set $redis "username" . }}{{ end -}}
{{- with $v.vault.redis.prefix }}{{ $_ := set $redis "prefix" . }}{{ end -}}
{{- $_ := set $own "vault" (dict "redis" $redis) -}}
{{- else -}}
{{- $_ := set $own "vault" (dict "store" dict) -}}
{{- end -}}

{{- $_ := set $own "keys" (dict "master" (dict "file" (printf "%s/master.key" $at))) -}}
{{- $passwords := dict "threads" $v.passwords.threads "memory_kib" $v.passwords.memoryKib -}}
{{- if $v.passwords.pepper.existingSecret }}{{ $_ := set $passwords "pepper_file" (printf "%s/pepper.key" $at) }}{{ end -}}
{{- $_ := set $own "passwords" $passwords -}}

{{- if $v.gateway.enabled -}}
{{- $gateway := dict "url" $v.gateway.url -}}
{{- with $v.gateway.trustedProxies }}{{ $_ := set $gateway "trusted_proxies" . }}{{ end -}}
{{- $clients := list -}}
{{- range $v.gateway.clients -}}
{{- $client := dict "id" .id "secret" (dict "file" (printf "%s/gateway-%s" $at .id)) -}}
{{- with .answer }}{{ $_ := set $client "answer" . }}{{ end -}}
{{- with .origins }}{{ $_ := set $client "origins" . }}{{ end -}}
{{- $clients = append $clients $client -}}
{{- end -}}
{{- with $clients }}{{ $_ := set $gateway "clients" . }}{{ end -}}
{{- if include "postern.hasGatewayPods" . -}}
{{- $_ := set $gateway "in_process" false -}}
{{- $_ := set $gateway "server" ($v.gateway.server | default (include "postern.grpcUrl" .)) -}}
{{- if and (include "postern.hasTls" .) $v.tls.caKey }}{{ $_ := set $gateway "server_ca" (printf "%s/ca.crt" $at) }}{{ end -}}
{{- end -}}
{{- $_ := set $own "gateway" $gateway -}}
{{- end -}}

{{- $clients := list -}}
{{- range $v.clients -}}
{{- $client := mergeOverwrite (deepCopy (.settings | default dict)) (dict "id" .id) -}}
{{- $id := .id -}}
{{- $files := list -}}
{{- range $number, $_ := .secrets }}{{ $files = append $files (dict "file" (printf "%s/client-%s-%d" $at $id $number)) }}{{ end -}}
{{- with $files }}{{ $_ := set $client "secrets" . }}{{ end -}}
{{- $clients = append $clients $client -}}
{{- end -}}
{{- with $clients }}{{ $_ := set $own "clients" . }}{{ end -}}

{{- $providers := list -}}
{{- range $v.providers -}}
{{- $provider := mergeOverwrite (deepCopy (.settings | default dict)) (dict "id" .id) -}}
{{- if .clientSecret }}{{ $_ := set $provider "client_secret" (dict "file" (printf "%s/provider-%s" $at .id)) }}{{ end -}}
{{- if .adminKey }}{{ $_ := set $provider "admin_key" (dict "file" (printf "%s/provider-%s.admin" $at .id)) }}{{ end -}}
{{- $providers = append $providers $provider -}}
{{- end -}}
{{- with $providers }}{{ $_ := set $own "providers" . }}{{ end -}}

{{- $issuers := list -}}
{{- range $v.trustedIssuers -}}
{{- $issuer := mergeOverwrite (deepCopy (.settings | default dict)) (dict "name" .name) -}}
{{- if .secret }}{{ $_ := set $issuer "secret" (dict "file" (printf "%s/issuer-%s" $at .name)) }}{{ end -}}
{{- $issuers = append $issuers $issuer -}}
{{- end -}}
{{- with $issuers }}{{ $_ := set $own "trusted_issuers" . }}{{ end -}}

{{- with $v.telemetry.endpoint -}}
{{- $telemetry := dict "endpoint" . "sample_one_in" $v.telemetry.sampleOneIn "service_name" $v.telemetry.serviceName -}}
{{- if or $v.telemetry.ca.existingSecret $v.telemetry.ca.configMap }}{{ $_ := set $telemetry "ca" (printf "%s/telemetry-ca.crt" $at) }}{{ end -}}
{{- with $v.telemetry.ca.file }}{{ $_ := set $telemetry "ca" . }}{{ end -}}
{{- $_ := set $own "telemetry" $telemetry -}}
{{- end -}}
{{- mergeOverwrite (deepCopy $v.config) $own | toJson -}}
{{- end -}}

{{/* What of `config` the chart writes itself. */}}
{{- define "postern.ownSettings" -}}
{{- list "profile" "data_dir" "issuer" "listen" "tls" "store" "vault" "clients" "providers" "trusted_issuers" "gateway" "telemetry" "keys.master"
  "passwords.threads" "passwords.memory_kib" "passwords.pepper_file" | toJson -}}
{{- end -}}

{{/* Not Helm's `toToml`, which writes every number of a values file as a float (19456.0), and the server takes none for a count. */}}
{{- define "postern.toml" -}}
{{- $settings := . -}}
{{- range $key, $value := $settings -}}
{{- if not (kindIs "map" $value) -}}
{{- if not (include "postern.toml.isTables" $value) }}
{{ include "postern.toml.key" $key }} = {{ include "postern.toml.value" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key, $value := $settings -}}
{{- if kindIs "map" $value }}

[{{ include "postern.toml.key" $key }}]
{{- range $name, $of := $value }}
{{ include "postern.toml.key" $name }} = {{ include "postern.toml.value" $of }}
{{- end }}
{{- else if include "postern.toml.isTables" $value }}
{{- range $table := $value }}

[[{{ include "postern.toml.key" $key }}]]
{{- range $name, $of := $table }}
{{ include "postern.toml.key" $name }} = {{ include "postern.toml.value" $of }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{ end -}}

{{- define "postern.toml.isTables" -}}
{{- if and (kindIs "slice" .) . }}{{ if kindIs "map" (first .) }}yes{{ end }}{{ end -}}
{{- end -}}

{{- define "postern.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ include "postern.toml.string" . }}{{ end -}}
{{- end -}}

{{/* A string of JSON is one of TOML, save that TOML takes no DEL, and YAML takes NEL for the end of a line. */}}
{{- define "postern.toml.string" -}}
{{ toJson . | replace "\u007f" "\\u007f" | replace "\u0085" "\\u0085" }}
{{- end -}}

{{- define "postern.toml.value" -}}
{{- if kindIs "string" . -}}
{{ include "postern.toml.string" . }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else if kindIs "float64" . -}}
{{- if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else if kindIs "slice" . -}}
[{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "postern.toml.value" $item }}{{ end }}]
{{- else if kindIs "map" . -}}
{ {{- $rest := false }}{{ range $key, $value := . }}{{ if $rest }},{{ end }} {{ include "postern.toml.key" $key }} = {{ include "postern.toml.value" $value }}{{ $rest = true }}{{ end }} }
{{- else -}}
{{ fail "config: a setting without a value; leave it away" }}
{{- end -}}
{{- end -}}

{{- define "postern.file" -}}
{{ include "postern.toml" (include "postern.settings" . | fromJson) | trim }}
{{- end -}}
