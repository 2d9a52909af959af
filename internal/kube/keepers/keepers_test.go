package keepers_test

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/keepers"
	"github.com/cairn-backup/cairn/internal/task"
)

// lists counts the lists past the cache.
type lists struct {
	client.Reader
	n int
}

func (l *lists) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	l.n++
	return l.Reader.List(ctx, list, opts...)
}

// Thousands of Snapshots can go at once while a keeper works on something else.
func TestPodsAreReadOnlyIfTheirJobIsGone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		removed types.UID // by the keeper
		owner   types.UID // of the pod
		gone    bool      // the Job
		works   bool
		lists   int
	}{
		"a Job that does something else":          {removed: "other", owner: "job"},
		"a Job that removes the data":             {removed: "mine", owner: "job", works: true},
		"a pod that outlives it":                  {removed: "mine", owner: "job", gone: true, works: true, lists: 1},
		"an earlier pod that removes the data":    {removed: "mine", owner: "earlier", works: true},
		"an earlier pod that does something else": {removed: "other", owner: "earlier", lists: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(batchv1.AddToScheme(scheme)).To(Succeed())
			g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
			order, err := task.Encode(task.Task{
				Kind: task.KindKeep, Cluster: "c",
				Storage: task.Storage{Spec: v1alpha1.Storage{Provider: v1alpha1.ProviderS3}},
				Keep: []task.Keep{{
					Repository: task.Repository{UID: "repository", Directory: "/shop/web"},
					Remove:     []task.Removed{{Name: "web-1", UID: tt.removed}},
				}},
			})
			g.Expect(err).NotTo(HaveOccurred())
			labels := map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelKeeper: "keeper-s3",
			}
			work := map[string]string{v1alpha1.AnnotationTask: order}
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "keeper-s3", UID: "job", Labels: labels,
				OwnerReferences: []metav1.OwnerReference{{
					APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Name: "keeper-s3", Controller: new(true),
				}},
			}}
			job.Spec.Template.Annotations = work
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "keeper-s3-x", Labels: labels, Annotations: work,
				OwnerReferences: []metav1.OwnerReference{{Name: job.Name, UID: tt.owner, Controller: new(true)}},
			}}
			objects := []client.Object{pod}
			if !tt.gone {
				objects = append(objects, job)
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
			live := &lists{Reader: c}
			s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", UID: "mine"}}
			works, err := keepers.Stop(t.Context(), c, live, s, time.Now())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(works).To(Equal(tt.works))
			g.Expect(live.n).To(Equal(tt.lists))
		})
	}
}

func TestAPodWhoseNodeIsDeadDoesNotWorkForEver(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		deleted time.Duration
		runs    bool
	}{
		"deleted just now":                 {runs: true},
		"deleted long ago":                 {deleted: -11 * time.Minute},
		"deleted by a clock that is ahead": {deleted: time.Hour, runs: true},
		"deleted by a clock a year ahead":  {deleted: 365 * 24 * time.Hour},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: new(metav1.NewTime(now.Add(tt.deleted)))}}
		NewWithT(t).Expect(keepers.CanRun(pod, now)).To(Equal(tt.runs), name)
	}
}
