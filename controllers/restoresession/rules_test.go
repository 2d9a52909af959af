package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// Three pods get the data of one pod, as the rules say; pods that no rule names get nothing.
func TestWhatOnePodHadIsRestoredToOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("restore", newClaims("copy-${POD_ORDINAL}"), func(s *v1alpha1.RestoreSession) {
		s.Spec.DataSource = &v1alpha1.RestoreDataSource{
			Snapshot: "pods",
			Rules:    []v1alpha1.RestoreRule{{TargetHosts: []string{"pod-1", "pod-2", "pod-3"}, SourceHost: "pod-1"}},
		}
	})
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(s.Status.Components).To(And(HaveLen(3), HaveKey("pod-1"), HaveKey("pod-2"), HaveKey("pod-3")))
	var got []string
	for _, h := range s.Status.Resolved.Hosts {
		v := h.Volumes[0]
		got = append(got, v.ClaimName+" "+v.Component+" "+v.Source+" "+v.ID)
	}
	w.Expect(got).
		To(ConsistOf("copy-1 pod-1  k-pods-pod-1", "copy-2 pod-2 pod-1 k-pods-pod-1",
			"copy-3 pod-3 pod-1 k-pods-pod-1"))
	jobs := w.Jobs()
	for i := range jobs {
		w.Expect(kubelet.TaskOf(&jobs[i]).Components[0].ID).To(Equal("k-pods-pod-1"))
	}
	w.Expect(jobs).To(HaveLen(3))

	w.restore("wrong", newClaims("other-${POD_ORDINAL}"), func(s *v1alpha1.RestoreSession) {
		s.Spec.DataSource = &v1alpha1.RestoreDataSource{
			Snapshot: "pods",
			Rules:    []v1alpha1.RestoreRule{{TargetHosts: []string{"pod-9"}}},
		}
	})
	w.Expect(ending(w.settle("wrong"))).To(Equal("Invalid/ComponentNotFound"))
}
