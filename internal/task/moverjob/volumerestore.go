package moverjob

import (
	"errors"
	"maps"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/task"
)

// VolumeRestoreInput is the input for the Jobs of one host that make claims from VolumeSnapshots.
type VolumeRestoreInput struct {
	RestoreJobInput
	// Templates of the claims, ordered by their numbers.
	Templates []v1alpha1.RestoreClaimTemplate
}

// VolumeRestoreJob builds the Job that makes the claims of one host. Its pod mounts no volume, and its only credential
// is its token for v1alpha1.SnapshotterServiceAccount. The input needs neither Storage nor Credentials.
func VolumeRestoreJob(in VolumeRestoreInput) (*batchv1.Job, error) {
	b := in.blueprint()
	b.account = v1alpha1.SnapshotterServiceAccount
	b.task.Kind = task.KindVolumeRestore
	claims, err := in.Claims()
	if err != nil {
		return nil, err
	}
	for i := range in.Host.Volumes {
		v := &in.Host.Volumes[i]
		b.task.Components = append(b.task.Components, task.Component{Name: v.Component, ID: v.ID, Claim: &task.Claim{
			Object: claims[i], Wait: v.Provision.Binding == v1alpha1.BindImmediate,
		}})
	}
	return b.job()
}

// VolumeMountJob builds the Job whose pod mounts the claims of one host and ends. It does not read their content.
func VolumeMountJob(in VolumeRestoreInput) (*batchv1.Job, error) {
	b := in.blueprint()
	b.resolved.Args, b.resolved.Steps, b.resolved.Volumes, b.resolved.Container = []string{
		string(task.KindVolumeMount),
	}, nil, nil, nil
	b.task.Kind = task.KindVolumeMount
	for i := range in.Host.Volumes {
		v := &in.Host.Volumes[i]
		b.volumes = append(b.volumes, volume{
			component: v.Component, claim: v.ClaimName, readOnly: true,
			block: v.Provision.VolumeMode == corev1.PersistentVolumeBlock,
		})
		b.task.Components = append(b.task.Components, task.Component{Name: v.Component, ID: v.ID})
	}
	return b.job()
}

// blueprint returns what both Jobs have in common.
func (in VolumeRestoreInput) blueprint() blueprint {
	labels := map[string]string{v1alpha1.LabelRestoreSession: policy.LabelValue(in.Session.Name)}
	t := task.Task{Cluster: in.ClusterUID, Namespace: in.Session.Namespace, RestoreSession: objectOf(in.Session)}
	if name := in.Resolved.Snapshot; name != "" {
		labels[v1alpha1.LabelSnapshot] = policy.LabelValue(name)
		t.Snapshot = &task.Snapshot{Name: name, UID: in.Resolved.SnapshotUID}
	}
	return blueprint{
		name: in.Name, namespace: in.Session.Namespace, labels: labels, task: t, timeout: in.Timeout,
		owner:      controllerOf(v1alpha1.RestoreSessionKind, in.Session),
		resolved:   *in.Resolved.Task.DeepCopy(),
		security:   securityOf(in.Host.SecurityContext, in.Resolved.Task.Job),
		privileged: in.Privileged,
	}
}

// Claims returns the claims to create for the volumes of the host, in their order.
func (in VolumeRestoreInput) Claims() ([]*corev1.PersistentVolumeClaim, error) {
	var out []*corev1.PersistentVolumeClaim
	for i := range in.Host.Volumes {
		v := &in.Host.Volumes[i]
		if int(v.Template) > len(in.Templates) || v.Template < 1 {
			return nil, errors.New("build Job " + in.Name + ": a claim has no template")
		}
		out = append(out, in.claim(v, &in.Templates[v.Template-1]))
	}
	return out, nil
}

// claim returns the claim to create for a volume.
func (in VolumeRestoreInput) claim(
	v *v1alpha1.ResolvedRestoreVolume, t *v1alpha1.RestoreClaimTemplate,
) *corev1.PersistentVolumeClaim {
	p := v.Provision
	spec := *t.Spec.DeepCopy()
	spec.StorageClassName, spec.AccessModes, spec.VolumeMode = p.StorageClassName, p.AccessModes, new(p.VolumeMode)
	spec.DataSource = &corev1.TypedLocalObjectReference{
		APIGroup: new("snapshot.storage.k8s.io"),
		Kind:     "VolumeSnapshot", Name: p.VolumeSnapshot,
	}
	spec.DataSourceRef = nil
	requests := corev1.ResourceList{}
	maps.Copy(requests, spec.Resources.Requests)
	requests[corev1.ResourceStorage] = p.Storage
	spec.Resources.Requests = requests

	ordinal := strings.TrimPrefix(in.Host.Name, "pod-")
	fill := func(of map[string]string) map[string]string {
		out := map[string]string{}
		for key, value := range of {
			if ordinal != in.Host.Name {
				value = strings.ReplaceAll(value, "${POD_ORDINAL}", ordinal)
			}
			out[key] = value
		}
		return out
	}
	labels, annotations := fill(t.Metadata.Labels), fill(t.Metadata.Annotations)
	delete(annotations, v1alpha1.AnnotationComponent)
	delete(annotations, v1alpha1.AnnotationReplace)
	annotations[v1alpha1.AnnotationRestoreSession] = string(in.Session.UID)
	annotations[v1alpha1.AnnotationRestoring] = string(in.Session.UID)
	annotations[v1alpha1.AnnotationJob] = in.Name
	return &corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: v1alpha1.KindPersistentVolumeClaim},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: in.Session.Namespace, Name: v.ClaimName, Labels: labels, Annotations: annotations,
		},
		Spec: spec,
	}
}

// Argument returns the value of the last argument name=value, or "".
func Argument(args []string, name string) string {
	value := ""
	for _, arg := range args {
		if v, found := strings.CutPrefix(arg, name+"="); found {
			value = v
		}
	}
	return value
}
