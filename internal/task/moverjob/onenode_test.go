package moverjob_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task/moverjob"
)

func TestJobsThatReadAVolumeOfOneNodeShareANode(t *testing.T) {
	claim := func(in *moverjob.BackupJobInput) { in.OneNode = []string{"logs-mariadb-0"} }
	anywhere := func(in *moverjob.BackupJobInput) { in.Host.Node = "" }
	again := func(in *moverjob.BackupJobInput) { in.Attempt = 2 }
	shared := func(in *moverjob.BackupJobInput) {
		in.OneNode = []string{"data-mariadb-0", "logs-mariadb-0"}
		in.Target.Repositories = make([]v1alpha1.ResolvedRepository, 1)
		other := v1alpha1.ResolvedHost{Name: "pod-1", Volumes: in.Host.Volumes[1:]}
		in.Target.Hosts = []v1alpha1.ResolvedHost{in.Host, other}
	}
	sharedCopy := func(in *moverjob.BackupJobInput) {
		in.Target.Repositories = make([]v1alpha1.ResolvedRepository, 1)
		in.Target.Hosts = []v1alpha1.ResolvedHost{in.Host, in.Host}
		in.Target.Copies = []v1alpha1.ResolvedCopy{{
			ClaimName: "data-mariadb-0", Name: "copy-data",
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		}}
	}
	for name, test := range map[string]struct {
		edit            []func(*moverjob.BackupJobInput)
		label           string
		must, can, node bool
	}{
		"a volume that several nodes can mount": {
			edit: []func(*moverjob.BackupJobInput){anywhere},
		},
		"a volume that one node can mount": {
			edit: []func(*moverjob.BackupJobInput){anywhere, claim}, label: "logs-mariadb-0", must: true,
		},
		"a volume that a pod on a node mounts": {
			edit: []func(*moverjob.BackupJobInput){claim}, label: "logs-mariadb-0", node: true,
		},
		"a second attempt does not wait for a node that can be lost": {
			edit: []func(*moverjob.BackupJobInput){anywhere, claim, again}, label: "logs-mariadb-0", can: true,
		},
		"a volume that several pods share, beside one of each": {
			edit: []func(*moverjob.BackupJobInput){anywhere, shared}, label: "logs-mariadb-0", must: true,
		},
		"a copy that the Jobs of two pods read": {
			edit: []func(*moverjob.BackupJobInput){anywhere, sharedCopy}, label: "copy-data", must: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := backupInput()
			for _, e := range test.edit {
				e(&in)
			}
			job, err := moverjob.BackupJob(in)
			g.Expect(err).NotTo(HaveOccurred())
			pod := job.Spec.Template
			g.Expect(pod.Labels[v1alpha1.LabelReads]).To(Equal(test.label))
			affinity := pod.Spec.Affinity
			if affinity == nil {
				affinity = &corev1.Affinity{}
			}
			g.Expect(affinity.NodeAffinity != nil).To(Equal(test.node))
			var must []corev1.PodAffinityTerm
			if affinity.PodAffinity != nil {
				must = affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
				g.Expect(affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution).
					To(HaveLen(map[bool]int{true: 1}[test.can]))
			}
			g.Expect(len(must)).To(Equal(map[bool]int{true: 1}[test.must]))
			for _, term := range must {
				g.Expect(term.TopologyKey).To(Equal(corev1.LabelHostname))
				g.Expect(term.LabelSelector.MatchLabels).
					To(Equal(map[string]string{v1alpha1.LabelReads: test.label}))
			}
			g.Expect(affinity.PodAffinity != nil).To(Equal(test.must || test.can))
		})
	}
}
