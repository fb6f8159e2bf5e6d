{{/* How objects are called, and by which labels they are found. */}}

{{- define "postern.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}

{{/* Short enough that every suffix of the chart still fits into the 63 characters of a DNS label. */}}
{{- define "postern.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 45 | trimSuffix "-" }}
{{- else -}}
{{- $name := include "postern.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{ $full | trunc 45 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "postern.selector" -}}
app.kubernetes.io/name: {{ include "postern.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* (dict "root" $ "component" "server"): never changes between versions, since a Deployment's selector cannot. */}}
{{- define "postern.componentSelector" -}}
{{ include "postern.selector" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "postern.podLabels" -}}
{{- $own := include "postern.componentSelector" . | fromYaml -}}
{{- merge $own (deepCopy .root.Values.podLabels) (deepCopy .root.Values.commonLabels) | toYaml -}}
{{- end -}}

{{/* (dict "root" $ "component" "server" "more" map). Pods have fewer: a new version of the chart alone must not restart them. */}}
{{- define "postern.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_"))
  "app.kubernetes.io/name" (include "postern.name" .root)
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/component" .component
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "app.kubernetes.io/part-of" "postern" -}}
{{- merge $own (deepCopy (.more | default dict)) (deepCopy .root.Values.commonLabels) | toYaml -}}
{{- end -}}

{{/* (dict "root" $ "component" "server" "suffix" "-grpc" "labels" map "annotations" map) */}}
{{- define "postern.metadata" -}}
name: {{ include "postern.fullname" .root }}{{ .suffix }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "postern.labels" (dict "root" .root "component" .component "more" .labels) | nindent 2 }}
{{- with merge (deepCopy (.annotations | default dict)) (deepCopy .root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "postern.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "postern.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "postern.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* Empty where a mesh encrypts. */}}
{{- define "postern.hasTls" -}}
{{- if ne .Values.tls.mode "mesh" }}yes{{ end -}}
{{- end -}}

{{- define "postern.scheme" -}}
{{ ternary "https" "http" (eq (include "postern.hasTls" .) "yes") }}
{{- end -}}

{{- define "postern.tlsSecret" -}}
{{- if eq .Values.tls.mode "certManager" -}}
{{ include "postern.fullname" . }}-tls
{{- else -}}
{{ .Values.tls.existingSecret }}
{{- end -}}
{{- end -}}

{{/* What those inside the cluster expect in the certificate. */}}
{{- define "postern.serverName" -}}
{{ .Values.tls.serverName | default (printf "%s.%s.svc" (include "postern.fullname" .) .Release.Namespace) }}
{{- end -}}

{{- define "postern.grpcUrl" -}}
{{ include "postern.scheme" . }}://{{ include "postern.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end -}}

{{- define "postern.gatewayHost" -}}
{{ get (urlParse .Values.gateway.url) "hostname" }}
{{- end -}}

{{- define "postern.onSqlite" -}}
{{- if eq .Values.store.engine "sqlite" }}yes{{ end -}}
{{- end -}}

{{- define "postern.migratesInJob" -}}
{{- if and (eq .Values.store.engine "postgres") (eq .Values.migrations.mode "job") }}yes{{ end -}}
{{- end -}}

{{- define "postern.migratesInPod" -}}
{{- if and (eq .Values.store.engine "postgres") (eq .Values.migrations.mode "initContainer") }}yes{{ end -}}
{{- end -}}

{{- define "postern.hasGatewayPods" -}}
{{- if and .Values.gateway.enabled (eq .Values.gateway.mode "deployment") }}yes{{ end -}}
{{- end -}}

{{- define "postern.servesGateway" -}}
{{- if and .Values.gateway.enabled (eq .Values.gateway.mode "inProcess") }}yes{{ end -}}
{{- end -}}

{{/* A test of the command line cannot show a certificate. */}}
{{- define "postern.hasTest" -}}
{{- if and .Values.tests.enabled (not .Values.tls.requireClientCertificate) }}yes{{ end -}}
{{- end -}}

{{/* The fewest servers that there are. */}}
{{- define "postern.leastReplicas" -}}
{{ ternary .Values.autoscaling.minReplicas .Values.replicaCount .Values.autoscaling.enabled | int64 }}
{{- end -}}

{{/* The handler `sleep` is in the kubelet from 1.30 on. The image has nothing else that could wait. */}}
{{- define "postern.canSleep" -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}yes{{ end -}}
{{- end -}}
