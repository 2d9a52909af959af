package restore

import (
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
)

// targetOf parses KIND/NAME. A name without a kind is that of a PersistentVolumeClaim.
func targetOf(target string) (*v1alpha1.TypedObjectReference, error) {
	kind, name, typed := strings.Cut(target, "/")
	if !typed {
		return &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: target}, nil
	}
	out := &v1alpha1.TypedObjectReference{APIGroup: "apps", Name: name}
	switch strings.ToLower(kind) {
	case "deployment", "deploy":
		out.Kind = v1alpha1.KindDeployment
	case "statefulset", "sts":
		out.Kind = v1alpha1.KindStatefulSet
	case "daemonset", "ds":
		out.Kind = v1alpha1.KindDaemonSet
	case "persistentvolumeclaim", "pvc":
		out.APIGroup, out.Kind = "", v1alpha1.KindPersistentVolumeClaim
	case "service", "svc":
		out.APIGroup, out.Kind = "", v1alpha1.KindService
	case "secret":
		out.APIGroup, out.Kind = "", v1alpha1.KindSecret
	case "appbinding":
		out.APIGroup, out.Kind = v1alpha1.GroupAppBinding, v1alpha1.KindAppBinding
	case "cluster":
		out.APIGroup, out.Kind = v1alpha1.GroupCluster, v1alpha1.KindCluster
	default:
		return nil,
			command.Usagef("invalid --target %s: the kind must be pvc, deployment, statefulset, daemonset, service, "+
				"secret, appbinding or cluster", target)
	}
	return out, nil
}
