package workload_test

import (
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/workloadtest"
)

// copying is the input for the copy of a claim named data with driver d.
func copying(method v1alpha1.CopyMethod) workload.Copies {
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: "d"}
	lazy := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "lazy"}, Provisioner: "d",
		VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	}
	foreign := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}, Provisioner: "other"}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}}
	claim.Spec.StorageClassName, claim.Spec.AccessModes = new("fast"), []corev1.PersistentVolumeAccessMode{
		corev1.ReadWriteOncePod, corev1.ReadWriteOnce, corev1.ReadWriteMany,
	}
	claim.Status.Phase, claim.Status.Capacity = corev1.ClaimBound, corev1.ResourceList{
		corev1.ResourceStorage: resource.MustParse("1Gi"),
	}
	volume := &corev1.PersistentVolume{}
	volume.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: "d"}
	volume.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")}
	return workload.Copies{
		Run: "uid", Target: "web",
		Settings:       v1alpha1.CopySettings{CopyMethod: method, CopyVolume: &v1alpha1.CopyVolume{}},
		Sources:        map[string]volumesnapshot.Source{"data": {Claim: claim, Volume: volume, StorageClass: class}},
		StorageClasses: map[string]*storagev1.StorageClass{"fast": class, "lazy": lazy, "foreign": foreign},
		Classes: []snapshotv1.VolumeSnapshotClass{
			{
				ObjectMeta: metav1.ObjectMeta{
					Name:        "snap",
					Annotations: map[string]string{"snapshot.storage.kubernetes.io/is-default-class": "true"},
				},
				Driver: "d",
			},
			{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Driver: "d"},
		},
	}
}

func TestCopiesOfATarget(t *testing.T) {
	hosts := runtest.Target("a", "data").Hosts
	hosts = append(hosts, runtest.Target("a", "data").Hosts...) // two pods that share a claim share its copy
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteMany}
	for name, tt := range map[string]struct {
		method v1alpha1.CopyMethod
		edit   func(*workload.Copies)
		want   v1alpha1.ResolvedCopy
		reason string
	}{
		"a snapshot": {
			want: v1alpha1.ResolvedCopy{
				VolumeSnapshotClassName: "snap", StorageClassName: "fast", Immediate: true, AccessModes: modes,
			},
		},
		"a clone": {
			method: v1alpha1.CopyClone,
			want:   v1alpha1.ResolvedCopy{StorageClassName: "fast", Immediate: true, AccessModes: modes},
		},
		"as the policy says": {
			edit: func(c *workload.Copies) {
				*c.Settings.CopyVolume = v1alpha1.CopyVolume{
					VolumeSnapshotClassName: "other", StorageClassName: "lazy",
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany},
				}
			},
			want: v1alpha1.ResolvedCopy{
				VolumeSnapshotClassName: "other", StorageClassName: "lazy",
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany},
			},
		},
		"a VolumeSnapshotClass that does not exist": {
			edit:   func(c *workload.Copies) { c.Settings.CopyVolume.VolumeSnapshotClassName = "none" },
			reason: v1alpha1.ReasonVolumeSnapshotClassNotFound,
		},
		"a StorageClass of another driver": {
			method: v1alpha1.CopyClone, reason: v1alpha1.ReasonStorageClassNotFound,
			edit: func(c *workload.Copies) { c.Settings.CopyVolume.StorageClassName = "foreign" },
		},
		"a StorageClass that does not exist": {
			edit:   func(c *workload.Copies) { c.Settings.CopyVolume.StorageClassName = "none" },
			reason: v1alpha1.ReasonStorageClassNotFound,
		},
		"a volume without a StorageClass": {
			method: v1alpha1.CopyClone, reason: v1alpha1.ReasonStorageClassNotFound,
			edit: func(c *workload.Copies) { c.Sources["data"].Claim.Spec.StorageClassName = nil },
		},
		"a volume without a CSI driver": {
			method: v1alpha1.CopyClone, edit: func(c *workload.Copies) { c.Sources["data"].Volume.Spec.CSI = nil },
			reason: v1alpha1.ReasonVolumeSnapshotsNotSupported,
		},
		"a claim without a volume": {
			edit:   func(c *workload.Copies) { c.Sources["data"].Claim.Status.Phase = corev1.ClaimPending },
			reason: v1alpha1.ReasonVolumeNotBound,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if tt.method == "" {
				tt.method = v1alpha1.CopySnapshot
			}
			in := copying(tt.method)
			if tt.edit != nil {
				tt.edit(&in)
			}
			got, err := workload.ResolveCopies(hosts, in)
			if tt.reason != "" {
				g.Expect(err).NotTo(BeNil())
				g.Expect(err.Reason).To(Equal(tt.reason))
				return
			}
			g.Expect(err).To(BeNil())
			tt.want.ClaimName, tt.want.Name, tt.want.Size = "data", policy.CopyName("uid", "web", "data"),
				resource.MustParse("2Gi")
			g.Expect(got).To(Equal([]v1alpha1.ResolvedCopy{tt.want}))
			g.Expect(got[0].ReadOnly()).To(Equal(name == "as the policy says"))
		})
	}
}

// A volume that can't be mounted because of who uses it can still be copied.
func TestVolumesInUseCanBeCopied(t *testing.T) {
	g := NewWithT(t)
	data := workloadtest.Claim("data", corev1.ReadWriteOncePod)
	in := workload.Target{
		Claim: &data, Claims: []corev1.PersistentVolumeClaim{data},
		Pods: []corev1.Pod{
			workloadtest.Pod("web", "node-a", workloadtest.PodSpec(workloadtest.ClaimVolume("v", "data"))),
		},
	}
	_, err := workload.ResolveHosts(in)
	g.Expect(err.Reason).To(Equal(v1alpha1.ReasonVolumeInUse))
	g.Expect(err.Message).To(ContainSubstring("copyMethod"))
	in.Copied = true
	hosts, err := workload.ResolveHosts(in)
	g.Expect(err).To(BeNil())
	g.Expect(hosts[0].Node).To(BeEmpty(), "the copy can be read anywhere")
}

func TestHostPathsHaveNoCopies(t *testing.T) {
	in := workload.Target{
		DaemonSet: workloadtest.DaemonSet(workloadtest.HostPaths("logs")), Privileged: true, Copied: true,
		Pods: []corev1.Pod{workloadtest.Pod("agent-1", "a", workloadtest.HostPaths("logs"))},
	}
	_, err := workload.ResolveHosts(in)
	NewWithT(t).Expect(err).To(HaveField("Reason", v1alpha1.ReasonCopyNotPossible))
}
