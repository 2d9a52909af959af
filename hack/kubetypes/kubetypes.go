// Package kubetypes tells the types of Kubernetes in the schema of a CRD. What they hold is in the documentation of Kubernetes:
// it is repeated neither in the CRDs nor in the reference.
package kubetypes

// signatures tell the types by fields that only they have together.
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

// Name is the name of the type of Kubernetes whose fields has knows, or "".
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

// Names of all types that Name knows.
func Names() []string {
	out := make([]string, len(signatures))
	for i, s := range signatures {
		out[i] = s.name
	}
	return out
}
