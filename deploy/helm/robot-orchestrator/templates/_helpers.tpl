{{/* Each takes a dict of root (the chart's context) and program (worker, bridge, console or topics). */}}

{{- define "robot-orchestrator.name" -}}
{{ .root.Release.Name | trunc 50 | trimSuffix "-" }}-{{ .program }}
{{- end }}

{{- define "robot-orchestrator.selector" -}}
app.kubernetes.io/name: robot-orchestrator
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .program }}
{{- end }}

{{- define "robot-orchestrator.labels" -}}
{{ include "robot-orchestrator.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "robot-orchestrator.metadata" -}}
name: {{ include "robot-orchestrator.name" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "robot-orchestrator.labels" . | nindent 2 }}
{{- end }}

{{- define "robot-orchestrator.podMetadata" -}}
labels:
  {{- toYaml (merge (include "robot-orchestrator.labels" . | fromYaml) (.root.Values.podLabels | default dict)) | nindent 2 }}
{{- with .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Settings, as YAML: what the chart itself depends on, then the program's, then those of all programs. */}}
{{- define "robot-orchestrator.settings" -}}
{{- $own := dict "ROBOT_ORCHESTRATOR_LOG_FORMAT" "json" }}
{{- if include "robot-orchestrator.secret" . }}
{{- $_ := set $own "ROBOT_ORCHESTRATOR_SECRETS_DIR" .root.Values.secretsDir }}
{{- end }}
{{- if eq .program "worker" }}
{{- $_ := set $own "ROBOT_ORCHESTRATOR_PROBE_HOST" "0.0.0.0" }}
{{- $_ := set $own "ROBOT_ORCHESTRATOR_PROBE_PORT" (include "robot-orchestrator.port" .) }}
{{- else if eq .program "bridge" }}
{{- $_ := set $own "ROBOT_ORCHESTRATOR_BRIDGE_HOST" "0.0.0.0" }}
{{- $_ := set $own "ROBOT_ORCHESTRATOR_BRIDGE_PORT" (include "robot-orchestrator.port" .) }}
{{- else if eq .program "console" }}
{{- $_ := set $own "ROBOT_ORCHESTRATOR_CONSOLE_HOST" "0.0.0.0" }}
{{- $_ := set $own "ROBOT_ORCHESTRATOR_CONSOLE_PORT" (include "robot-orchestrator.port" .) }}
{{- $_ := set $own "ROBOT_ORCHESTRATOR_CONSOLE_FILE" "/var/lib/robot-orchestrator/console.sqlite3" }}
{{- end }}
{{- toYaml (merge $own (index .root.Values .program).env .root.Values.env) }}
{{- end }}

{{- define "robot-orchestrator.port" -}}
{{ get (dict "worker" "8081" "bridge" "8082" "console" "8080") .program }}
{{- end }}

{{/* The port that an address leads to. */}}
{{- define "robot-orchestrator.portOf" -}}
{{- $address := urlParse . }}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $address.host) | default (ternary "443" "80" (eq $address.scheme "https")) }}
{{- end }}

{{/* The Secret of a program, or nothing. */}}
{{- define "robot-orchestrator.secret" -}}
{{ (index .root.Values .program).secretName | default .root.Values.secretName }}
{{- end }}

{{/* How long a bridge holds a report. */}}
{{- define "robot-orchestrator.holdSeconds" -}}
{{- $settings := include "robot-orchestrator.settings" . | fromYaml }}
{{- get $settings "ROBOT_ORCHESTRATOR_BRIDGE_HOLD_SECONDS" | default "60" }}
{{- end }}

{{/* How long a pod may take to stop: what docs/operating.md says, from the settings that the program has. */}}
{{- define "robot-orchestrator.grace" -}}
{{- $settings := include "robot-orchestrator.settings" . | fromYaml }}
{{- if eq .program "worker" }}
{{- $call := get $settings "ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS" | default "60" | float64 }}
{{- $drain := get $settings "ROBOT_ORCHESTRATOR_DRAIN_SECONDS" | default (addf $call 5) | float64 }}
{{- addf $drain 35 | ceil }}
{{- else if eq .program "bridge" }}
{{- addf (include "robot-orchestrator.holdSeconds" . | float64) 30 .root.Values.bridge.leaveSeconds | ceil }}
{{- else }}
{{- 30 }}
{{- end }}
{{- end }}

{{/* What the specifications of all pods have. */}}
{{- define "robot-orchestrator.pod" -}}
# A Service named as we are would give us variables that look like settings.
enableServiceLinks: false
automountServiceAccountToken: false
terminationGracePeriodSeconds: {{ include "robot-orchestrator.grace" . }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.pod }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What all containers have but the command and its probes. */}}
{{- define "robot-orchestrator.container" -}}
name: {{ .program }}
{{- with .root.Values.image }}
image: {{ if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.root.Chart.AppVersion }}{{ end }}
imagePullPolicy: {{ .pullPolicy }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources:
  {{- toYaml (index .root.Values .program).resources | nindent 2 }}
{{- with (index .root.Values .program).envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- range $name, $value := include "robot-orchestrator.settings" . | fromYaml }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
{{- end }}

{{- define "robot-orchestrator.probes" -}}
ports:
  - name: http
    containerPort: {{ include "robot-orchestrator.port" . }}
startupProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /livez, port: http}
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{- define "robot-orchestrator.secretMount" -}}
{{- if include "robot-orchestrator.secret" . -}}
- name: secrets
  mountPath: {{ .root.Values.secretsDir }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "robot-orchestrator.secretVolume" -}}
{{- with include "robot-orchestrator.secret" . -}}
- name: secrets
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{/* One a node, while there are as many nodes. */}}
{{- define "robot-orchestrator.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "robot-orchestrator.selector" . | nindent 8 }}
{{- end }}

{{/* A drain of nodes takes one at a time. One that is not ready does not stand in its way: it does no work. */}}
{{- define "robot-orchestrator.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "robot-orchestrator.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "robot-orchestrator.selector" . | nindent 6 }}
{{- end }}
