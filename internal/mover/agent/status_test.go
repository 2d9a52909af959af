package agent

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
)

// A restarted sidecar compares what its container kept with the Snapshot: the first run can have written it.
func TestARestartedSidecarRestoresAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		phase v1alpha1.RestoreSessionPhase
		again bool
	}{
		"it had begun": {v1alpha1.RestoreSessionRunning, true}, "it had not": {v1alpha1.RestoreSessionPending, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			given := sidecar.Assignment{Host: "target", Attempt: 1, PodUID: "pod", Components: []sidecar.Component{
				{Component: task.Component{Name: "data"}},
			}}
			text, err := sidecar.Encode(sidecar.Work{
				Task:        task.Task{Kind: task.KindRestore, Restore: &task.Restore{}},
				Assignments: []sidecar.Assignment{given},
			})
			g.Expect(err).NotTo(HaveOccurred())
			s := &v1alpha1.RestoreSession{
				TypeMeta: metav1.TypeMeta{
					APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.RestoreSessionKind,
				},
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "back", UID: "u",
					Annotations: map[string]string{v1alpha1.AnnotationSidecarTask: text},
				},
			}
			s.Status.Components = map[string]v1alpha1.RestoredComponent{"data": {Phase: tt.phase}}
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			agent := &Sidecar{
				Namespace: "shop", PodUID: "pod", Client: dynamicfake.NewSimpleDynamicClient(scheme, s),
			}
			got, err := agent.current(t.Context(), posting{restoreSessions, "back", "u", given})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got.work.Task.Restore.Again).To(Equal(tt.again))
		})
	}
}

// A sidecar that stood still until its assignment was withdrawn is fenced: its backup must not be completed.
func TestAWithdrawnAssignmentIsFenced(t *testing.T) {
	for name, withdrawn := range map[string]bool{"before this report": true, "and this report finds out": false} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			work, withdraw := context.WithCancelCause(t.Context())
			if withdrawn {
				withdraw(errWithdrawn)
			}
			s := &sidecarStatus{
				work: work, stands: func(context.Context) (bool, error) { return false, nil },
				withdraw: func() { withdraw(errWithdrawn) },
			}
			ended := v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded}
			g.Expect(s.Snapshot(t.Context(), task.Object{Name: "s", UID: "u"}, "pvc", ended)).
				To(MatchError(report.ErrFenced))
			g.Expect(context.Cause(work)).To(MatchError(errWithdrawn))
			g.Expect(s.accepted).To(HaveKeyWithValue("pvc", true), "nobody reports it again")
		})
	}
}
