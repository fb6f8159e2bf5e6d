{{/* What does not render, all of it at once, one fault a line. The schema says what has the wrong shape, this what is missing or does
not go together. */}}

{{- define "postern.faults" -}}
{{- $v := .Values -}}
{{- $tls := include "postern.hasTls" . -}}
{{- if not $v.image.repository }}
image.repository: missing; name the registry and repository that hold the image
{{- end }}
{{- if not $v.issuerUrl }}
issuerUrl: missing; the https URL that goes into every token, such as https://auth.example.com
{{- end }}
{{- if not $v.masterKey.existingSecret }}
masterKey.existingSecret: missing; `postern master-key new --out master.key` and `kubectl create secret generic postern-master-key --from-file master.key`
{{- end }}
{{- if and (eq $v.store.engine "postgres") (not $v.store.postgres.existingSecret) }}
store.postgres.existingSecret: missing; a Secret with the URL of the role that reads and writes the tables
{{- end }}
{{- if and (eq $v.vault.engine "redis") (not $v.vault.redis.existingSecret) }}
vault.redis.existingSecret: missing; a Secret with the URL of Redis, or vault.engine=store
{{- end }}
{{- if and (eq $v.store.engine "postgres") (ne $v.migrations.mode "none") (not $v.migrations.existingSecret) }}
migrations.existingSecret: missing; a Secret with the URL of the role that owns the tables, or migrations.mode=none
{{- end }}
{{- if and (eq $v.tls.mode "existingSecret") (not $v.tls.existingSecret) }}
tls.existingSecret: missing; a Secret of type kubernetes.io/tls, or tls.mode=certManager, or tls.mode=mesh
{{- end }}
{{- if and (eq $v.tls.mode "certManager") (not $v.tls.certManager.issuerRef.name) }}
tls.certManager.issuerRef.name: missing; the issuer that signs the certificate
{{- end }}
{{- if and $v.tls.requireClientCertificate (not $v.tls.clientCa.existingSecret) }}
tls.requireClientCertificate: needs tls.clientCa.existingSecret
{{- end }}
{{- if and (not $tls) (or $v.tls.clientCa.existingSecret $v.tls.requireClientCertificate) }}
tls.mode: with mesh the mesh checks certificates; take tls.clientCa and tls.requireClientCertificate away
{{- end }}
{{- if and $v.admin.enabled $tls (not $v.tls.clientCa.existingSecret) }}
admin.enabled: AdminService on a reachable address needs tls.clientCa.existingSecret; without it use `kubectl port-forward`
{{- end }}
{{- if include "postern.onSqlite" . }}
{{- if or (ne (int $v.replicaCount) 1) $v.autoscaling.enabled }}
store.engine: sqlite is one file of one server; set replicaCount=1 and autoscaling.enabled=false, or take postgres
{{- end }}
{{- end }}
{{- if and $v.bootstrap.enabled (not $v.bootstrap.existingSecret) }}
bootstrap.existingSecret: missing; a Secret with the administrator's password and the first client's secret
{{- end }}
{{- if and $v.gateway.enabled (not $v.gateway.url) }}
gateway.url: missing; where browsers find the gateway, such as https://auth.example.com
{{- end }}
{{- if and (include "postern.hasGatewayPods" .) $v.tls.requireClientCertificate }}
gateway.mode: a gateway in pods of its own has no certificate to show; take inProcess, or tls.requireClientCertificate away
{{- end }}
{{- if and $v.ingress.gateway.enabled (not $v.gateway.enabled) }}
ingress.gateway.enabled: needs gateway.enabled
{{- end }}
{{- if and $v.ingress.grpc.enabled (not $v.ingress.grpc.hosts) }}
ingress.grpc.hosts: missing; the names that it serves
{{- end }}
{{- if and $v.gatewayApi.httpRoute.enabled (not $v.gateway.enabled) }}
gatewayApi.httpRoute.enabled: needs gateway.enabled
{{- end }}
{{- if and $v.gatewayApi.httpRoute.enabled (not $v.gatewayApi.httpRoute.parentRefs) }}
gatewayApi.httpRoute.parentRefs: missing; the Gateways that take the route
{{- end }}
{{- if and $v.gatewayApi.grpcRoute.enabled (not (and $v.gatewayApi.grpcRoute.parentRefs $v.gatewayApi.grpcRoute.hostnames)) }}
gatewayApi.grpcRoute: needs parentRefs and hostnames
{{- end }}
{{- if and $v.gatewayApi.backendTlsPolicy.enabled (not $tls) }}
gatewayApi.backendTlsPolicy.enabled: with tls.mode=mesh there is no TLS to speak with the pods
{{- end }}
{{- if and (eq $v.probes.mode "exec") $v.tls.requireClientCertificate }}
probes.mode: exec has no certificate to show; take http, or tls.requireClientCertificate away
{{- end }}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}
autoscaling.minReplicas: more than autoscaling.maxReplicas
{{- end }}
{{- if and $v.autoscaling.enabled (not (dig "requests" "cpu" "" $v.resources)) }}
resources.requests.cpu: missing; autoscaling measures by it
{{- end }}
{{- if and $v.podDisruptionBudget.enabled (not (include "postern.onSqlite" .)) }}
{{- $unset := kindIs "invalid" $v.podDisruptionBudget.minAvailable }}
{{- if and (not $unset) (or (eq (toString $v.podDisruptionBudget.minAvailable) "100%") (and (not (kindIs "string" $v.podDisruptionBudget.minAvailable)) (ge (int $v.podDisruptionBudget.minAvailable) (int (include "postern.leastReplicas" .))))) }}
podDisruptionBudget.minAvailable: as many as there are replicas, so that no node could ever be drained
{{- end }}
{{- if and $unset (has (toString $v.podDisruptionBudget.maxUnavailable) (list "0" "0%")) }}
podDisruptionBudget.maxUnavailable: 0, so that no node could ever be drained
{{- end }}
{{- end }}
{{- if and (has (toString $v.updateStrategy.maxSurge) (list "0" "0%")) (has (toString $v.updateStrategy.maxUnavailable) (list "0" "0%")) }}
updateStrategy: maxSurge and maxUnavailable are both 0, so that no pod could ever be replaced
{{- end }}
{{- if lt (int (include "postern.gracePeriod" .)) (add (int $v.lifecycle.preStopSleepSeconds) 12) }}
lifecycle.terminationGracePeriodSeconds: less than the sleep and the ten seconds of drain; calls would be cut off
{{- end }}
{{- $memory := dig "limits" "memory" "" $v.resources }}
{{- if $memory }}
{{- $bytes := int64 (include "postern.bytes" $memory) }}
{{- $needed := include "postern.neededMib" . }}
{{- if lt $bytes 0 }}
resources.limits.memory: {{ $memory }} is no quantity such as 512Mi
{{- else if lt $bytes (mul (int64 $needed) 1048576) }}
resources.limits.memory: {{ $memory }} is less than the {{ $needed }}Mi that {{ $v.passwords.threads }} threads of {{ int64 $v.passwords.memoryKib }} KiB need beside memory.baseMib; have fewer threads, or leave it away
{{- end }}
{{- end }}
{{- range $key := include "postern.ownSettings" . | fromJsonArray }}
{{- $path := splitList "." $key }}
{{- $section := get $v.config (first $path) }}
{{- if or (and (eq (len $path) 1) (hasKey $v.config $key)) (and (eq (len $path) 2) (kindIs "map" $section) (hasKey (default dict $section) (last $path))) }}
config.{{ $key }}: the chart writes this itself, from a value of its own
{{- end }}
{{- end }}
{{- if regexMatch "\"value\":" (toJson (list $v.config $v.clients $v.providers $v.trustedIssuers)) }}
config: no secret stands in the settings; name a Secret that holds it
{{- end }}
{{- range $section, $owned := dict "clients" (list "id" "secrets") "providers" (list "id" "client_secret" "admin_key") "trustedIssuers" (list "name" "secret") }}
{{- range $index, $entry := get $v $section }}
{{- range $key := $owned }}
{{- if hasKey ($entry.settings | default dict) $key }}
{{ $section }}[{{ $index }}].settings.{{ $key }}: the chart writes this itself, from the key beside `settings`
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $list := list (list "clients" "id" $v.clients) (list "providers" "id" $v.providers) (list "trustedIssuers" "name" $v.trustedIssuers) (list "gateway.clients" "id" $v.gateway.clients) }}
{{- $seen := dict }}
{{- range last $list }}
{{- $name := get . (index $list 1) }}
{{- if hasKey $seen $name }}
{{ first $list }}: {{ $name }} stands there twice
{{- end }}
{{- $_ := set $seen $name true }}
{{- end }}
{{- end }}
{{- range $v.extraEnv }}
{{- if and (regexMatch "^OTEL_EXPORTER_OTLP(_TRACES)?_HEADERS$" .name) (hasKey . "value") }}
extraEnv: {{ .name }} holds what a collector asks for, which is secret; name a Secret in telemetry.headers.existingSecret
{{- end }}
{{- $setting := trimPrefix "POSTERN__" .name | replace "__" "." | lower }}
{{- $name := .name }}
{{- range $key := include "postern.ownSettings" $ | fromJsonArray }}
{{- if and (hasPrefix "POSTERN__" $name) (or (eq $setting $key) (hasPrefix (printf "%s." $key) $setting)) }}
extraEnv: {{ $name }} would win over what the chart writes, from a value of its own; a secret comes by an existingSecret
{{- end }}
{{- end }}
{{- end }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "postern.fullname" .)) }}
fullnameOverride: {{ include "postern.fullname" . }} is no name of a Service, which begins with a letter and has no dot; set another one
{{- end }}
{{- if gt (len (compact (list $v.telemetry.ca.existingSecret $v.telemetry.ca.configMap $v.telemetry.ca.file))) 1 }}
telemetry.ca: set one of existingSecret, configMap and file
{{- end }}
{{- end -}}
