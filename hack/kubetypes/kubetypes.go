// Package kubetypes recognises the types of Kubernetes in the schema of a CRD. The documentation of Kubernetes
// describes their fields, so neither the CRDs nor the reference repeat that.
package kubetypes

// signatures lists for each type the fields that together occur in no other type.
var signatures = []struct {
	name   string
	fields []string
}{
	{"Condition", []string{"lastTransitionTime", "reason", "status", "type"}},
	{"LabelSelector", []string{"matchExpressions", "matchLabels"}},
	{"ResourceRequirements", []string{"claims", "limits", "requests"}},
	{"SELinuxOptions", []string{"level", "role", "type", "user"}},
	{"Toleration", []string{"effect", "operator", "tolerationSeconds"}},
	{"Affinity", []string{"nodeAffinity", "podAffinity", "podAntiAffinity"}},
	{"TopologySpreadConstraint", []string{"maxSkew", "whenUnsatisfiable"}},
	{"PodDNSConfig", []string{"nameservers", "searches"}},
	{"SecurityContext", []string{"allowPrivilegeEscalation", "capabilities"}},
	{"EnvVar", []string{"name", "value", "valueFrom"}},
	{"EnvFromSource", []string{"configMapRef", "prefix", "secretRef"}},
	{"ContainerPort", []string{"containerPort", "hostPort"}},
	{"VolumeMount", []string{"mountPath", "subPathExpr"}},
	{"VolumeDevice", []string{"devicePath", "name"}},
	{"PersistentVolumeClaimSpec", []string{"accessModes", "storageClassName", "volumeName"}},
	{"PersistentVolumeClaimVolumeSource", []string{"claimName", "readOnly"}},
	{"EmptyDirVolumeSource", []string{"medium", "sizeLimit"}},
	{"SecretVolumeSource", []string{"defaultMode", "secretName"}},
	{"ConfigMapVolumeSource", []string{"defaultMode", "items", "name"}},
	{"CSIVolumeSource", []string{"nodePublishSecretRef", "volumeAttributes"}},
	{"NFSVolumeSource", []string{"path", "server"}},
}

// Name returns the name of the type of Kubernetes whose fields all satisfy has, or "".
func Name(has func(field string) bool) string {
	for _, known := range signatures {
		all := true
		for _, field := range known.fields {
			all = all && has(field)
		}
		if all {
			return known.name
		}
	}
	return ""
}

// Names returns the names of all types that Name recognises.
func Names() []string {
	out := make([]string, len(signatures))
	for i, s := range signatures {
		out[i] = s.name
	}
	return out
}
