package keeper

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/keeper"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
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
	lost := errors.New("lost")
	const why = "its data is removed"
	c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(s).WithObjects(s).
		WithInterceptorFuncs(testbed.FailPatch(&lost)).Build()
	r := &Reconciler{Client: c, APIReader: c, EventRecorder: record.NewFakeRecorder(10), FieldManager: "test"}
	ctx, lines := loglines.Record(t.Context(), 0)
	g.Expect(r.release(ctx, s.DeepCopy(), true, why)).To(MatchError(lost))
	lost = nil
	g.Expect(c.Get(ctx, client.ObjectKeyFromObject(s), s)).To(Succeed())
	for range 2 { // a manager that was killed does it again
		g.Expect(r.release(ctx, s, true, why)).To(Succeed())
	}
	g.Expect(*lines).To(HaveExactElements(HaveSuffix(`"msg"="released the Snapshot" ` +
		`"snapshot"={"name"="one" "namespace"="shop"} "why"="` + why + `"`)))
	gone := s.DeepCopy()
	gone.Name, gone.Finalizers, gone.Status.Conditions = "gone", []string{v1alpha1.FinalizerWipe}, nil
	g.Expect(r.release(ctx, gone, true, why)).To(Succeed(), "somebody else released the Snapshot, and it is gone")
	g.Expect(*lines).To(HaveLen(1))
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

// TestAnEndedKeeperIsLoggedOnce looks twice at a Job that has ended: the first look deletes it.
func TestAnEndedKeeperIsLoggedOnce(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	p := place{namespace: "shop", storage: client.ObjectKey{Namespace: "backup", Name: "s3"}}
	work := task.Task{
		Kind: task.KindKeep, Cluster: "c", Storage: task.Storage{Spec: v1alpha1.Storage{Provider: v1alpha1.ProviderS3}},
		Keep: []task.Keep{
			{Repository: task.Repository{Name: "web", UID: "w", Directory: "/web"}},
			{Repository: task.Repository{Name: "db", UID: "d", Directory: "/db"}},
		},
	}
	text, err := task.Encode(work)
	g.Expect(err).NotTo(HaveOccurred())
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: p.name(), UID: "j"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{
			Annotations: map[string]string{v1alpha1.AnnotationTask: text},
		}}},
		Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{
			Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonDeadlineExceeded,
		}}},
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(job).Build()
	r := &Reconciler{Client: c, APIReader: c, Clock: clocktesting.NewFakePassiveClock(time.Now()), FieldManager: "test"}
	ctx, lines := loglines.Record(t.Context(), 0)
	for range 2 {
		_, err = r.observe(ctx, p, job)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(*lines).To(HaveExactElements(
		And(ContainSubstring(`"msg"="keeper ended"`), ContainSubstring(`"name"="web"`), ContainSubstring(`"Failed"`)),
		And(ContainSubstring(`"msg"="keeper ended"`), ContainSubstring(`"name"="db"`), ContainSubstring(`"Failed"`)),
	))
}

// A refused Job is tried each minute: the log has a line when that begins, and when it begins again.
func TestARefusedKeeperIsLoggedOnce(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	one := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(one).WithObjects(one).Build()
	r := &Reconciler{
		Client: c, APIReader: c, EventRecorder: record.NewFakeRecorder(10), FieldManager: "test",
		Clock: clocktesting.NewFakePassiveClock(time.Now()),
	}
	refusal := &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonCreationRefused, Message: "exceeded quota"}
	ctx, lines := loglines.Record(t.Context(), 0)
	refuse := func(w keeper.Work) {
		w.Repository = &v1alpha1.Repository{}
		g.Expect(c.Get(ctx, client.ObjectKeyFromObject(one), w.Repository)).To(Succeed())
		_, err := r.refused(ctx, place{}, []keeper.Work{w}, refusal)
		g.Expect(err).NotTo(HaveOccurred())
	}
	for range 2 {
		refuse(keeper.Work{Scan: "now"})
	}
	g.Expect(*lines).To(HaveExactElements(And(ContainSubstring(`"msg"="the keeper is refused"`),
		ContainSubstring(`"reason"="CreationRefused" "message"="exceeded quota"`))))
	refuse(keeper.Work{Scan: "now", Maintain: task.MaintainQuick})
	g.Expect(*lines).To(HaveLen(2), "something else is refused, too")
}
