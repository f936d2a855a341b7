{{- define "linkpool.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "linkpool.labels" -}}
app.kubernetes.io/name: linkpool
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Takes a dict of root and part. */}}
{{- define "linkpool.selector" -}}
app.kubernetes.io/name: linkpool
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "linkpool.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* A variable that names the file of a secret, which must be there. */}}
{{- define "linkpool.secretFile" -}}
- name: LINKPOOL_{{ upper . }}_FILE
  value: /run/secrets/linkpool/{{ . }}
{{- end -}}

{{/* What beat needs; api and worker need more. */}}
{{- define "linkpool.environment" -}}
- {name: LINKPOOL_ENV, value: production}
- {name: LINKPOOL_DATA_DIR, value: /data}
{{ include "linkpool.secretFile" "redis_url" }}
{{- range $name, $value := .Values.settings }}
- {name: LINKPOOL_{{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- if has "broker_url" .Values.optionalSecrets }}
{{ include "linkpool.secretFile" "broker_url" }}
{{- end }}
{{- end -}}

{{- define "linkpool.fullEnvironment" -}}
{{ include "linkpool.environment" . }}
{{ include "linkpool.secretFile" "database_url" }}
{{ include "linkpool.secretFile" "secret_key" }}
{{- if .Values.provider.subdomain }}
- {name: LINKPOOL_NEETOCAL_SUBDOMAIN, value: {{ .Values.provider.subdomain | quote }}}
{{ include "linkpool.secretFile" "neetocal_api_key" }}
{{- end }}
{{- range without .Values.optionalSecrets "broker_url" "metrics_key" "admin_key" }}
{{- if or $.Values.provider.subdomain (not (hasPrefix "neetocal_" .)) }}
{{ include "linkpool.secretFile" . }}
{{- end }}
{{- end }}
{{- if .Values.config }}
- {name: LINKPOOL_CONFIG, value: /etc/linkpool/linkpool.toml}
{{- end }}
{{- end -}}

{{/* What every pod has. Takes a dict of root and part. */}}
{{- define "linkpool.pod" -}}
serviceAccountName: {{ include "linkpool.name" .root }}
automountServiceAccountToken: false
# A Service named linkpool would set LINKPOOL_PORT in every pod of the namespace.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: data
    emptyDir: {sizeLimit: 256Mi}
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
  - name: secrets
    secret: {secretName: {{ .root.Values.secret }}, defaultMode: 0440}
{{- if .root.Values.config }}
  - name: config
    configMap: {name: {{ include "linkpool.name" .root }}}
{{- end }}
{{- end -}}

{{/* What every container has. Takes the root. */}}
{{- define "linkpool.container" -}}
image: {{ include "linkpool.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: data, mountPath: /data}
  - {name: tmp, mountPath: /tmp}
  - {name: secrets, mountPath: /run/secrets/linkpool, readOnly: true}
{{- if .Values.config }}
  - {name: config, mountPath: /etc/linkpool, readOnly: true}
{{- end }}
{{- end -}}

{{/* New pods when the configuration changes. */}}
{{- define "linkpool.annotations" -}}
checksum/config: {{ printf "%s%s" .Values.config (toJson .Values.settings) | sha256sum }}
{{- end -}}

{{/* The last sweep that a worker ran, which beat had asked for, must be recent. */}}
{{- define "linkpool.sweepCheck" -}}
{{- $sweep := int (.Values.settings.SWEEP_SECONDS | default 5) -}}
exec:
  command: [linkpool, status, --max-age, {{ add (mul 3 $sweep) 63 | toString | quote }}]
initialDelaySeconds: 60
periodSeconds: 60
timeoutSeconds: 20
failureThreshold: 3
{{- end -}}
