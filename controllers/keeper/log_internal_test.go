package keeper

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// The removal of data is the one thing that Cairn can't take back: each Snapshot whose data is gone is one line.
func TestARemovalIsLogged(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "one", DeletionTimestamp: new(metav1.Now()),
		Finalizers: []string{v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord},
	}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(s).WithObjects(s).Build()
	r := &Reconciler{Client: c, APIReader: c, EventRecorder: record.NewFakeRecorder(10), FieldManager: "test"}
	ctx, lines := loglines.Record(t.Context(), 0)
	for range 2 { // a manager that was killed does it again
		g.Expect(r.release(ctx, s)).To(Succeed())
	}
	g.Expect(*lines).To(HaveExactElements(HaveSuffix(`"msg"="released the Snapshot" ` +
		`"snapshot"={"name"="one" "namespace"="shop"} "why"="its data is removed"`)))
}

func TestTheEndOfAKeeperIsLogged(t *testing.T) {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "keeper"}}
	work := &task.Keep{
		Repository: task.Repository{Name: "web"}, Remove: make([]task.Removed, 2), Maintain: task.MaintainQuick,
	}
	const start = `"msg"="keeper ended" "job"={"name"="keeper" "namespace"="shop"} `
	const rest = `"repository"={"name"="web" "namespace"="shop"} "wipe"=false "toRemove"=2 "maintenance"="quick"`
	for name, tt := range map[string]struct {
		result task.ComponentResult
		want   string
	}{
		"it succeeded": {
			task.ComponentResult{Outcome: task.OutcomeSucceeded}, start + `"outcome"="Succeeded" ` + rest,
		},
		"it failed": {
			task.ComponentResult{Outcome: task.OutcomeFailed, Reason: "Unreachable", Error: "no route"},
			start + `"outcome"="Failed" ` + rest + ` "reason"="Unreachable" "message"="no route"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, lines := loglines.Record(t.Context(), 0)
			logEnd(ctx, place{namespace: "shop"}, job, work, tt.result)
			NewWithT(t).Expect(*lines).To(HaveExactElements(HaveSuffix(tt.want)))
		})
	}
}
