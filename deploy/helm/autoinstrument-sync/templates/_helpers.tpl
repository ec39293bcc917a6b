{{- define "sync.labels" -}}
app.kubernetes.io/name: autoinstrument-sync
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sync.selection" -}}
{{- range .Values.experiments }}
- --experiment
- {{ . | quote }}
{{- else }}
- --all
{{- end }}
{{- end }}

{{- define "sync.pod" -}}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
{{- range $name := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $.Values $name }}
{{ $name }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
volumes:
  - {name: tmp, emptyDir: {}}
  - {name: home, emptyDir: {}}
{{- end }}

{{- define "sync.container" -}}
name: sync
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
envFrom:
  - configMapRef: {name: {{ .Release.Name }}}
  - secretRef: {name: {{ .Values.credentialsSecret }}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts: [{name: tmp, mountPath: /tmp}, {name: home, mountPath: /home/follower}]
{{- end }}
