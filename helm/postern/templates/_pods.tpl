{{/* What all pods have in common, and what is mounted into them. */}}

{{/* (dict "root" $ "account" "name") */}}
{{- define "postern.pod" -}}
serviceAccountName: {{ .account | quote }}
automountServiceAccountToken: false
# Kubernetes' variables of Services (POSTERN_PORT…) would be read as ours.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int64 .root.Values.podSecurityContext.runAsUser }}
  runAsGroup: {{ int64 .root.Values.podSecurityContext.runAsGroup }}
  fsGroup: {{ int64 .root.Values.podSecurityContext.fsGroup }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Of the pods that serve: (dict "root" $ "component" "server") */}}
{{- define "postern.placement" -}}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- if kindIs "invalid" .root.Values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "postern.componentSelector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- else }}
{{- with .root.Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "postern.container" -}}
image: {{ include "postern.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  privileged: false
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{/* The file of each secret of a pod, as JSON: (dict "root" $ "of" "server"). `ca` is who vouches for our own certificate. */}}
{{- define "postern.secretFiles" -}}
{{- $v := .root.Values -}}
{{- $files := list -}}
{{- if eq .of "owner" -}}
{{- $files = append $files (dict "name" $v.migrations.existingSecret "key" $v.migrations.urlKey "path" "postgres-owner-url") -}}
{{- end -}}
{{- if eq .of "server" -}}
{{- $files = append $files (dict "name" $v.masterKey.existingSecret "key" $v.masterKey.key "path" "master.key") -}}
{{- if $v.passwords.pepper.existingSecret -}}
{{- $files = append $files (dict "name" $v.passwords.pepper.existingSecret "key" $v.passwords.pepper.key "path" "pepper.key") -}}
{{- end -}}
{{- if eq $v.vault.engine "redis" -}}
{{- $redis := $v.vault.redis -}}
{{- $files = append $files (dict "name" $redis.existingSecret "key" $redis.urlKey "path" "redis-url") -}}
{{- if $redis.passwordKey }}{{ $files = append $files (dict "name" $redis.existingSecret "key" $redis.passwordKey "path" "redis-password") }}{{ end -}}
{{- if $redis.caKey }}{{ $files = append $files (dict "name" $redis.existingSecret "key" $redis.caKey "path" "redis-ca.crt") }}{{ end -}}
{{- end -}}
{{- range $client := $v.clients -}}
{{- range $number, $secret := $client.secrets -}}
{{- $files = append $files (dict "name" $secret.name "key" $secret.key "path" (printf "client-%s-%d" $client.id $number)) -}}
{{- end -}}
{{- end -}}
{{- range $v.providers -}}
{{- if .clientSecret }}{{ $files = append $files (dict "name" .clientSecret.name "key" .clientSecret.key "path" (printf "provider-%s" .id)) }}{{ end -}}
{{- if .adminKey }}{{ $files = append $files (dict "name" .adminKey.name "key" .adminKey.key "path" (printf "provider-%s.admin" .id)) }}{{ end -}}
{{- end -}}
{{- range $v.trustedIssuers -}}
{{- if .secret }}{{ $files = append $files (dict "name" .secret.name "key" .secret.key "path" (printf "issuer-%s" .name)) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and (has .of (list "server" "owner")) (eq $v.store.engine "postgres") -}}
{{- $postgres := $v.store.postgres -}}
{{- if eq .of "server" }}{{ $files = append $files (dict "name" $postgres.existingSecret "key" $postgres.urlKey "path" "postgres-url") }}{{ end -}}
{{- if $postgres.caKey }}{{ $files = append $files (dict "name" $postgres.existingSecret "key" $postgres.caKey "path" "postgres-ca.crt") }}{{ end -}}
{{- end -}}
{{- $pages := ternary "server" "gateway" (eq (include "postern.servesGateway" .root) "yes") -}}
{{- if and $v.gateway.enabled (eq .of $pages) -}}
{{- range $v.gateway.clients -}}
{{- $files = append $files (dict "name" .secret.name "key" .secret.key "path" (printf "gateway-%s" .id)) -}}
{{- end -}}
{{- end -}}
{{- $ca := $v.telemetry.ca -}}
{{- if and $v.telemetry.endpoint (has .of (list "server" "gateway")) -}}
{{- if $ca.existingSecret }}{{ $files = append $files (dict "name" $ca.existingSecret "key" $ca.key "path" "telemetry-ca.crt") }}{{ end -}}
{{- if $ca.configMap }}{{ $files = append $files (dict "of" "configMap" "name" $ca.configMap "key" $ca.key "path" "telemetry-ca.crt") }}{{ end -}}
{{- end -}}
{{- if include "postern.hasTls" .root -}}
{{- $tls := include "postern.tlsSecret" .root -}}
{{- if has .of (list "server" "gateway") -}}
{{- $files = append $files (dict "name" $tls "key" "tls.crt" "path" "tls.crt") -}}
{{- $files = append $files (dict "name" $tls "key" "tls.key" "path" "tls.key") -}}
{{- if $v.tls.clientCa.existingSecret }}{{ $files = append $files (dict "name" $v.tls.clientCa.existingSecret "key" $v.tls.clientCa.key "path" "clients-ca.crt") }}{{ end -}}
{{- end -}}
{{- $asks := or (has .of (list "gateway" "test")) (and (eq .of "server") (eq $v.probes.mode "exec")) -}}
{{- if and $asks $v.tls.caKey }}{{ $files = append $files (dict "name" $tls "key" $v.tls.caKey "path" "ca.crt") }}{{ end -}}
{{- end -}}
{{- if and (eq .of "test") $v.tests.existingSecret -}}
{{- range $key := list $v.tests.passwordKey $v.tests.clientSecretKey -}}
{{- $files = append $files (dict "name" $v.tests.existingSecret "key" $key "path" (ternary "test-password" "test-client" (eq $key $v.tests.passwordKey))) -}}
{{- end -}}
{{- end -}}
{{- if eq .of "bootstrap" -}}
{{- $files = append $files (dict "name" $v.bootstrap.existingSecret "key" $v.bootstrap.passwordKey "path" "password") -}}
{{- $files = append $files (dict "name" $v.bootstrap.existingSecret "key" $v.bootstrap.clientSecretKey "path" "client-secret") -}}
{{- end -}}
{{- toJson $files -}}
{{- end -}}

{{/* One folder for all files of a pod. Root owns them and fsGroup may read them: 0400 becomes 0440, which the server accepts of
root's files alone. 256 is 0400, written so that no reader of YAML mistakes it. (dict "root" $ "of" "server" "volume" "secrets") */}}
{{- define "postern.secretVolume" -}}
- name: {{ .volume }}
  projected:
    defaultMode: 256
    sources:
    {{- range include "postern.secretFiles" . | fromJsonArray }}
      - {{ .of | default "secret" }}:
          name: {{ .name | quote }}
          items:
            - key: {{ .key | quote }}
              path: {{ .path | quote }}
    {{- end }}
{{- end -}}

{{/* Of what serves. Headers for the collector are the one secret that the server takes from nowhere else than its environment. */}}
{{- define "postern.env" -}}
{{- $headers := .Values.telemetry.headers }}
{{- $given := and .Values.telemetry.endpoint $headers.existingSecret }}
{{- if or .Values.extraEnv $given }}
env:
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if $given }}
  - name: OTEL_EXPORTER_OTLP_HEADERS
    valueFrom:
      secretKeyRef:
        name: {{ $headers.existingSecret | quote }}
        key: {{ $headers.key | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "postern.hasSecretFiles" -}}
{{- if include "postern.secretFiles" . | fromJsonArray }}yes{{ end -}}
{{- end -}}

{{/* The name of a key is a file's name in the folder below. */}}
{{- define "postern.configVolume" -}}
- name: config
  configMap:
    name: {{ include "postern.fullname" . }}
    items:
      - key: postern.toml
        path: postern.toml
{{- end -}}

{{/* A read-only mount, so that the folder's mode (1777) means nothing to the server's check of it. */}}
{{- define "postern.mounts" -}}
- name: config
  mountPath: /etc/postern
  readOnly: true
- name: secrets
  mountPath: {{ include "postern.secrets" . }}
  readOnly: true
{{- end -}}

{{/* The data directory, on the embedded store. */}}
{{- define "postern.dataVolume" -}}
{{- if include "postern.onSqlite" . }}
- name: data
  persistentVolumeClaim:
    claimName: {{ .Values.store.sqlite.existingClaim | default (printf "%s-data" (include "postern.fullname" .)) | quote }}
{{- end }}
{{- end -}}

{{- define "postern.dataMount" -}}
{{- if include "postern.onSqlite" . }}
- name: data
  mountPath: /var/lib/postern
{{- end }}
{{- end -}}

{{/* Without a file of settings: those would make it want the master key and the certificate, and it needs one URL. So it also works
before the chart's own objects exist, as a hook before the first install does. Nothing here is secret. */}}
{{- define "postern.migrateContainer" -}}
- name: migrate
  {{- include "postern.container" . | nindent 2 }}
  args:
    - migrate
    - --set
    - store.postgres.url.file={{ include "postern.secrets" . }}/postgres-owner-url
    {{- if .Values.store.postgres.pooler }}
    - --set
    - store.postgres.pooler=true
    {{- end }}
    {{- with .Values.migrations.grantTo }}
    - {{ include "postern.argument" (printf "--grant-to=%s" .) }}
    {{- end }}
  resources:
    {{- toYaml .Values.migrations.resources | nindent 4 }}
  volumeMounts:
    - name: owner
      mountPath: {{ include "postern.secrets" . }}
      readOnly: true
{{- end -}}

{{/* Of what a person chose: Kubernetes would put variables into it, and an option of its own must not come of it. */}}
{{- define "postern.argument" -}}
{{ replace "$" "$$" . | toJson }}
{{- end -}}

{{/* One probe: (dict "root" $ "path" "/livez" "of" .Values.probes.liveness). Neither path, nor the health of the empty name, follows an
engine: an outage of PostgreSQL restarts nothing and takes nothing out of a Service. */}}
{{- define "postern.probe" -}}
{{- if eq .root.Values.probes.mode "exec" }}
exec:
  command:
    - /postern
    - health
    - --server
    - {{ include "postern.scheme" .root }}://{{ ternary (include "postern.serverName" .root) "127.0.0.1" (eq (include "postern.hasTls" .root) "yes") }}:7301
    {{- if and (include "postern.hasTls" .root) .root.Values.tls.caKey }}
    - --ca
    - {{ include "postern.secrets" .root }}/ca.crt
    {{- end }}
{{- else }}
httpGet:
  path: {{ .path }}
  port: operations
  scheme: {{ include "postern.scheme" .root | upper }}
{{- end }}
{{- range $name, $number := .of }}
{{ $name }}: {{ int64 $number }}
{{- end }}
{{- end -}}

{{/* So that a pod that ends takes calls until proxies know of it. After it comes SIGTERM: health says NOT_SERVING, no new connection
is taken, and calls that have begun get ten seconds. */}}
{{- define "postern.lifecycle" -}}
{{- if .Values.lifecycle.preStop }}
lifecycle:
  preStop:
    {{- toYaml .Values.lifecycle.preStop | nindent 4 }}
{{- else if and (include "postern.canSleep" .) (gt (int .Values.lifecycle.preStopSleepSeconds) 0) }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ int64 .Values.lifecycle.preStopSleepSeconds }}
{{- end }}
{{- end -}}

{{- define "postern.gracePeriod" -}}
{{- if kindIs "invalid" .Values.lifecycle.terminationGracePeriodSeconds -}}
{{ add (int .Values.lifecycle.preStopSleepSeconds) 20 }}
{{- else -}}
{{ int64 .Values.lifecycle.terminationGracePeriodSeconds }}
{{- end -}}
{{- end -}}
