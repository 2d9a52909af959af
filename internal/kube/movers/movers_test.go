package movers

import (
	"context"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/logs"
	"github.com/cairn-backup/cairn/internal/task/observe"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

func TestWhenKubernetesIsDoneWithAJob(t *testing.T) {
	for name, tc := range map[string]struct {
		status batchv1.JobStatus
		want   bool
	}{
		"it runs":      {status: batchv1.JobStatus{Active: 1}},
		"it succeeded": {status: with(batchv1.JobComplete), want: true},
		"it failed":    {status: with(batchv1.JobFailed), want: true},
		"it is about to fail, and its pod was deleted": {status: with(batchv1.JobFailureTarget), want: true},
		"it is about to fail, and its pod has not ended": {
			status: batchv1.JobStatus{Active: 1, Conditions: with(batchv1.JobFailureTarget).Conditions},
		},
		"it is about to fail, and its pod is just being stopped": {
			status: batchv1.JobStatus{
				Terminating: ptr.To[int32](1), Conditions: with(batchv1.JobFailureTarget).Conditions,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			job := &batchv1.Job{Status: tc.status}
			metav1.SetMetaDataAnnotation(&job.ObjectMeta, v1alpha1.AnnotationSnapshotUID, "uid")
			got := observeJob(job, nil, time.Time{})
			NewWithT(t).Expect(got.Snapshot).To(BeEquivalentTo("uid"))
			NewWithT(t).Expect(got.Finished).To(Equal(tc.want))
			if tc.want && tc.status.Conditions[0].Type != batchv1.JobComplete {
				NewWithT(t).Expect(got.State).To(Equal(observe.StateFailed))
			}
		})
	}
}

func TestFencedMoversAreOneLine(t *testing.T) {
	many := func(name string, n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("%s%d", name, i))
		}
		return out
	}
	for name, tt := range map[string]struct {
		jobs, reasons []string
		want          []string
	}{
		"none": {reasons: []string{"Evicted"}},
		"without a reason": {
			jobs: []string{"a"},
			want: []string{`"level"=0 "msg"="fenced movers" "snapshot"="s" "jobs"=["a"] "count"=1`},
		},
		"several": {
			jobs: []string{"a", "b"}, reasons: []string{"Evicted"},
			want: []string{`"level"=0 "msg"="fenced movers" "snapshot"="s" "jobs"=["a" "b"] "count"=2 ` +
				`"reasons"=["Evicted"]`},
		},
		"more than a line holds": {
			jobs: many("j", 12), reasons: many("R", 11),
			want: []string{`"level"=0 "msg"="fenced movers" "snapshot"="s" ` +
				`"jobs"=["j0" "j1" "j2" "j3" "j4" "j5" "j6" "j7" "j8" "j9"] "count"=12 ` +
				`"reasons"=["R0" "R1" "R2" "R3" "R4" "R5" "R6" "R7" "R8" "R9"]`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, lines := loglines.Record(t.Context(), 0)
			LogFenced(ctx, tt.jobs, tt.reasons, "snapshot", "s")
			NewWithT(t).Expect(*lines).To(Equal(tt.want))
		})
	}
}

// A run asks for a deletion at each look, until the pods are gone.
func TestADeletionIsLoggedOnce(t *testing.T) {
	g := NewWithT(t)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "mover", UID: "u", Finalizers: []string{metav1.FinalizerDeleteDependents},
	}}
	c := fake.NewClientBuilder().WithObjects(job).Build()
	run := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "run"}}
	ctx, lines := loglines.Record(t.Context(), 0)
	for range 3 {
		g.Expect(c.Get(ctx, client.ObjectKeyFromObject(job), job)).To(Succeed(), "its pods still run")
		observed := observeJob(job, nil, time.Time{})
		g.Expect(Delete(ctx, logs.NewClient(c), c, run, job.Name, observed)).To(Succeed())
	}
	g.Expect(*lines).To(HaveExactElements(ContainSubstring("deleted")))
}

// Whatever ends first determines the reason: if Kubernetes ended a Job before the deadline of its run, the run would
// seem stopped instead of too slow.
func TestTheRunEndsBeforeItsJobs(t *testing.T) {
	second := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, tc := range map[string]struct{ frozen, made, timeout time.Duration }{
		"begun with a second":        {0, 100 * time.Millisecond, 10 * time.Second},
		"begun with a second's end":  {950 * time.Millisecond, 1050 * time.Millisecond, 10 * time.Second},
		"a Job late in its second":   {100 * time.Millisecond, 990 * time.Millisecond, 10 * time.Second},
		"less than a second is left": {0, 9500 * time.Millisecond, 10 * time.Second},
		"none is left":               {0, 11 * time.Second, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			deadline := second.Add(tc.frozen).Truncate(time.Second).Add(tc.timeout)
			made := second.Add(tc.made)
			seconds := int64(Timeout(deadline, made) / time.Second) // as in the Job's spec
			ended := made.Truncate(time.Second).Add(time.Duration(seconds) * time.Second)
			const look = 2 * time.Second // when the run is looked at after its deadline
			NewWithT(t).Expect(ended).To(BeTemporally(">", deadline.Add(look)))
		})
	}
}

func with(kind batchv1.JobConditionType) batchv1.JobStatus {
	return batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue}}}
}

// TestWhatARunWaitsForIsLogged observes Jobs of a list without an order: the line about all of them is sorted.
func TestWhatARunWaitsForIsLogged(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "run", UID: "u"}}
	job := func(name string, status batchv1.JobStatus) *batchv1.Job {
		return &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(now),
				Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, "of": "run"},
				OwnerReferences: []metav1.OwnerReference{
					*metav1.NewControllerRef(owner, corev1.SchemeGroupVersion.WithKind("ConfigMap")),
				},
			},
			Status: status,
		}
	}
	listed := &batchv1.JobList{Items: []batchv1.Job{
		*job("b", batchv1.JobStatus{}), *job("a", batchv1.JobStatus{}), *job("c", with(batchv1.JobComplete)),
	}}
	reader := fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{List: func(
		_ context.Context, _ client.WithWatch, list client.ObjectList, _ ...client.ListOption,
	) error {
		if jobs, ok := list.(*batchv1.JobList); ok {
			listed.DeepCopyInto(jobs)
		}
		return nil
	}}).Build()
	ctx, lines := loglines.Record(t.Context(), 1)
	jobs, _, err := Observe(ctx, reader, owner, "of", now)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(jobs).To(HaveLen(3))
	const pod = `"level"=1 "msg"="waits for the pod of a Job" "job"=`
	g.Expect(*lines).To(HaveExactElements(
		HavePrefix(pod+`{"name"="b" "namespace"="shop"} "reason"="Pending"`),
		HavePrefix(pod+`{"name"="a" "namespace"="shop"} "reason"="Pending"`),
		Equal(`"level"=1 "msg"="waits for Jobs" "jobs"=["a" "b"] "count"=2`),
	))
}

// A Job that was deleted while the API server's clock was a year ahead is not waited for until then.
func TestADeletionOfTheFutureIsStuck(t *testing.T) {
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		deleted time.Duration
		stuck   bool
	}{
		"a minute ago": {-time.Minute, false}, "an hour ago": {-time.Hour, true},
		"by a manager behind": {time.Hour, false}, "in a year": {365 * 24 * time.Hour, true},
	} {
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{Time: now.Add(tt.deleted)}}}
		NewWithT(t).Expect(deletionStuck(job, now)).To(Equal(tt.stuck), name)
	}
}

// A deleted owner of the same name can have left pods. The clock of the API server can have been wrong when it made the
// owner.
func TestWhichPodsAreOfTheOwner(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		owner time.Duration
		job   bool
		want  int
	}{
		"made after the owner":                 {owner: -time.Hour, want: 1},
		"left by an earlier owner":             {owner: time.Second},
		"the owner is dated in a year":         {owner: 365 * 24 * time.Hour, want: 1},
		"the date of the owner has just come":  {owner: 0, want: 0},
		"and its Job still has the pod":        {owner: 0, job: true, want: 1},
		"dated in a year, and the Job has one": {owner: 365 * 24 * time.Hour, job: true, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
				Name: "run", UID: "run", CreationTimestamp: metav1.NewTime(now.Add(tt.owner)),
			}}
			of := func(uid types.UID) []metav1.OwnerReference {
				return []metav1.OwnerReference{{UID: uid, Controller: new(true)}}
			}
			job := batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: "job", OwnerReferences: of("earlier")}}
			if tt.job {
				job.OwnerReferences = of("run")
			}
			pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				CreationTimestamp: metav1.NewTime(now.Add(-time.Minute)), OwnerReferences: of("job"),
			}}
			n := unfinishedMoverPods([]corev1.Pod{pod}, []batchv1.Job{job}, owner, now)
			NewWithT(t).Expect(n).To(Equal(tt.want))
		})
	}
}
