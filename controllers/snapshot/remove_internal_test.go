package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// TestContentsLeft asks what becomes of the content of a VolumeSnapshot that is gone. A mover reports the names.
func TestContentsLeft(t *testing.T) {
	const being = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted"
	type content = snapshotv1.VolumeSnapshotContent
	for name, tt := range map[string]struct {
		edit   func(*content)
		report func(*v1alpha1.VolumeSnapshotterStats)
		exists types.UID
		going  int
		kept   []string
	}{
		"left by the snapshot controller": {going: 1},
		"not marked":                      {edit: func(c *content) { c.Annotations = nil }, kept: []string{"content"}},
		"deletionPolicy Retain again": {
			edit: func(c *content) { c.Spec.DeletionPolicy = snapshotv1.VolumeSnapshotContentRetain },
			kept: []string{"content"},
		},
		"of a VolumeSnapshot made again": {edit: func(c *content) { c.Spec.VolumeSnapshotRef.UID = "other" }},
		"of another namespace":           {edit: func(c *content) { c.Spec.VolumeSnapshotRef.Namespace = "other" }},
		"imported": {
			edit: func(c *content) { c.Spec.Source = snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: new("h")} },
		},
		"policy keeps the data": {
			report: func(s *v1alpha1.VolumeSnapshotterStats) { s.ContentDeletionPolicy = "Retain" },
		},
		"the VolumeSnapshot still exists":      {exists: "v"},
		"another VolumeSnapshot with its name": {exists: "w", going: 1},
		"a name that is none": {
			report: func(s *v1alpha1.VolumeSnapshotterStats) { s.VolumeSnapshotContentName = "../content" },
		},
		"no name reported": {
			edit: func(c *content) { c.Name = "snapcontent-v" },
			report: func(s *v1alpha1.VolumeSnapshotterStats) {
				s.VolumeSnapshotContentName = ""
			},
			going: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(snapshotv1.AddToScheme(scheme)).To(Succeed())
			c := &content{
				ObjectMeta: metav1.ObjectMeta{Name: "content", Annotations: map[string]string{being: "yes"}},
				Spec: snapshotv1.VolumeSnapshotContentSpec{
					DeletionPolicy:    snapshotv1.VolumeSnapshotContentDelete,
					VolumeSnapshotRef: corev1.ObjectReference{Namespace: "shop", Name: "data-1", UID: "v"},
					Source:            snapshotv1.VolumeSnapshotContentSource{VolumeHandle: new("h")},
				},
			}
			if tt.edit != nil {
				tt.edit(c)
			}
			stats := v1alpha1.VolumeSnapshotterStats{VolumeSnapshotName: "data-1", VolumeSnapshotContentName: "content"}
			if tt.report != nil {
				tt.report(&stats)
			}
			s := &v1alpha1.Snapshot{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "one"},
				Status: v1alpha1.SnapshotStatus{Components: map[string]v1alpha1.Component{
					"pvc": {ID: "v", VolumeSnapshotterStats: []v1alpha1.VolumeSnapshotterStats{stats}},
				}},
			}
			reader := fake.NewClientBuilder().WithScheme(scheme).WithObjects(c).WithInterceptorFuncs(interceptor.Funcs{
				Get: func(
					ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object,
					opts ...client.GetOption,
				) error {
					g.Expect(key.Name).NotTo(ContainSubstring("/"), "an API server is never asked for such a name")
					return c.Get(ctx, key, o, opts...)
				},
			}).Build()
			r := &Reconciler{APIReader: reader}
			left, err := r.contentsLeft(t.Context(), s, volumeSnapshots{exists: map[types.UID]bool{tt.exists: true}})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(left.going).To(HaveLen(tt.going))
			g.Expect(left.kept).To(Equal(tt.kept))
		})
	}
}

// TestRemoveContents deletes contents that the snapshot controller has left, until they are gone.
func TestRemoveContents(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	content := func(name string, deleted time.Duration) *snapshotv1.VolumeSnapshotContent {
		c := &snapshotv1.VolumeSnapshotContent{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{"a/b"}}}
		if deleted > 0 {
			c.DeletionTimestamp = new(metav1.NewTime(now.Add(-deleted)))
		}
		return c
	}
	conflict := apierrors.NewConflict(schema.GroupResource{}, "one", errors.New("changed"))
	refused := apierrors.NewForbidden(schema.GroupResource{}, "one", errors.New("no"))
	for name, tt := range map[string]struct {
		contents []*snapshotv1.VolumeSnapshotContent
		refused  error
		after    time.Duration
		message  string
	}{
		"left just now": {
			contents: []*snapshotv1.VolumeSnapshotContent{content("one", 0)}, after: soon,
		},
		"the oldest is stuck": {
			contents: []*snapshotv1.VolumeSnapshotContent{content("young", 20*time.Second), content("old", time.Hour)},
			after:    seldom, message: "VolumeSnapshotContent old keeps terminating",
		},
		"it changed meanwhile": {
			contents: []*snapshotv1.VolumeSnapshotContent{content("one", 0)}, refused: conflict,
		},
		"the deletion is refused": {
			contents: []*snapshotv1.VolumeSnapshotContent{content("one", 0)}, refused: refused,
			message: "delete VolumeSnapshotContent one: forbidden: no. Cairn tries again; to release",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(snapshotv1.AddToScheme(scheme)).To(Succeed())
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "one"}}
			b := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(s).WithObjects(s)
			var going []snapshotv1.VolumeSnapshotContent
			for _, c := range tt.contents {
				b = b.WithObjects(c)
				going = append(going, *c)
			}
			c := b.WithInterceptorFuncs(interceptor.Funcs{Delete: func(
				ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption,
			) error {
				var noted v1alpha1.Snapshot
				g.Expect(c.Get(ctx, client.ObjectKeyFromObject(s), &noted)).To(Succeed())
				g.Expect(conditions.IsTrue(&noted, v1alpha1.ConditionRemovalBegan)).To(BeTrue(), "first it is noted")
				if tt.refused != nil {
					return tt.refused
				}
				return c.Delete(ctx, o, opts...)
			}}).Build()
			r := &Reconciler{
				Client: c, APIReader: c, Clock: clocktesting.NewFakePassiveClock(now), FieldManager: "test",
				EventRecorder: record.NewFakeRecorder(10),
			}
			deletes := slices.ContainsFunc(tt.contents, func(c *snapshotv1.VolumeSnapshotContent) bool {
				return c.DeletionTimestamp == nil
			})
			result, err := r.removeContents(t.Context(), s, going)
			g.Expect(conditions.IsTrue(s, v1alpha1.ConditionRemovalBegan)).To(Equal(deletes))
			g.Expect(result.RequeueAfter).To(Equal(tt.after))
			if tt.refused == nil {
				g.Expect(err).NotTo(HaveOccurred())
				for i := range going {
					g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(&going[i]), &going[i])).To(Succeed())
					g.Expect(going[i].DeletionTimestamp).NotTo(BeNil())
				}
			} else {
				g.Expect(err).To(MatchError(tt.refused))
			}
			g.Expect(conditions.GetMessage(s, v1alpha1.ConditionWiped)).To(HavePrefix(tt.message))
			g.Expect(conditions.Has(s, v1alpha1.ConditionWiped)).To(Equal(tt.message != ""))
		})
	}
}

// TestTheDeletionPolicyPrecedesTheDeletion also has contents that somebody made again from the snapshot.
func TestTheDeletionPolicyPrecedesTheDeletion(t *testing.T) {
	const retain, remove = snapshotv1.VolumeSnapshotContentRetain, snapshotv1.VolumeSnapshotContentDelete
	volume := snapshotv1.VolumeSnapshotContentSource{VolumeHandle: new("h")}
	imported := snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: new("h")}
	lost := errors.New("its deletionPolicy stays Retain")
	for name, tt := range map[string]struct {
		source   snapshotv1.VolumeSnapshotContentSource
		is, want snapshotv1.DeletionPolicy
		refused  error
	}{
		"the data goes":                 {volume, retain, remove, nil},
		"the data stays":                {volume, remove, retain, nil},
		"the policy is as it should be": {volume, retain, retain, nil},
		"imported data stays":           {imported, remove, retain, nil},
		"imported data goes":            {imported, remove, remove, nil},
		"the write is refused":          {imported, retain, remove, lost},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(snapshotv1.AddToScheme(scheme)).To(Succeed())
			content := &snapshotv1.VolumeSnapshotContent{
				ObjectMeta: metav1.ObjectMeta{Name: "content"},
				Spec: snapshotv1.VolumeSnapshotContentSpec{
					VolumeSnapshotRef: corev1.ObjectReference{Namespace: "shop", Name: "data-1", UID: "v"},
					DeletionPolicy:    tt.is, Source: tt.source,
				},
			}
			v := &snapshotv1.VolumeSnapshot{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data-1", UID: "v"},
				Status:     &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: &content.Name},
			}
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(content, v).
				WithInterceptorFuncs(testbed.FailPatch(&tt.refused)).Build()
			r := &Reconciler{Client: c, APIReader: c, FieldManager: "test"}
			err := r.remove(t.Context(), v, tt.want)
			gone := apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(v), v))
			g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(content), content)).To(Succeed())
			if tt.refused != nil {
				g.Expect(err).To(MatchError(tt.refused))
				g.Expect(gone).To(BeFalse(), "the VolumeSnapshot stays")
				g.Expect(content.Spec.DeletionPolicy).To(Equal(tt.is))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(gone).To(BeTrue(), "the VolumeSnapshot goes")
			g.Expect(content.Spec.DeletionPolicy).To(Equal(tt.want))
		})
	}
}

// A content that can't be read is not gone.
func TestAnUnreadableContentIsAnError(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(snapshotv1.AddToScheme(scheme)).To(Succeed())
	broken := errors.New("broken")
	r := &Reconciler{APIReader: fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return broken
		},
	}).Build()}
	s := &v1alpha1.Snapshot{Status: v1alpha1.SnapshotStatus{Components: map[string]v1alpha1.Component{
		"pvc": {ID: "v", VolumeSnapshotterStats: []v1alpha1.VolumeSnapshotterStats{{VolumeSnapshotName: "data-1"}}},
	}}}
	_, err := r.contentsLeft(t.Context(), s, volumeSnapshots{})
	g.Expect(err).To(MatchError(broken))
}

// A restore in another namespace can have borrowed the data of a content that the snapshot controller left.
func TestALentContentStays(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(snapshotv1.AddToScheme(scheme)).To(Succeed())
	lent := &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{
			Name: policy.ImportName("restore", "v"),
			Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn, v1alpha1.LabelRestoreSession: "restore",
			},
			Annotations: map[string]string{v1alpha1.AnnotationRestoreSession: "restore"},
		},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			VolumeSnapshotRef: corev1.ObjectReference{Namespace: "elsewhere", Name: policy.ImportName("restore", "v")},
			Driver:            "disk", Source: snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: new("h")},
		},
	}
	r := &Reconciler{APIReader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(lent).Build()}
	for handle, waits := range map[string]string{
		"h": "VolumeSnapshotContent one is lent to a restore in namespace elsewhere", "other": "",
	} {
		left := snapshotv1.VolumeSnapshotContent{
			ObjectMeta: metav1.ObjectMeta{Name: "one"},
			Spec:       snapshotv1.VolumeSnapshotContentSpec{Driver: "disk"},
			Status:     &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: &handle},
		}
		why, err := r.lentContent(t.Context(), []snapshotv1.VolumeSnapshotContent{left})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(why).To(HavePrefix(waits))
		g.Expect(why == "").To(Equal(waits == ""))
	}
}

// Of several Jobs that work with a Snapshot, each look names the same: the lists of a cache have no order.
func TestTheJobOfASnapshot(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(batchv1.AddToScheme(scheme)).To(Succeed())
	job := func(name string, conditions ...batchv1.JobCondition) *batchv1.Job {
		return &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: name,
				Labels: map[string]string{v1alpha1.LabelSnapshot: policy.LabelValue("one")},
			},
			Status: batchv1.JobStatus{Conditions: conditions},
		}
	}
	ended := batchv1.JobCondition{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}
	backwards := false
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(job("a", ended), job("b"), job("c")).
		WithInterceptorFuncs(interceptor.Funcs{List: func(
			ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption,
		) error {
			err := c.List(ctx, list, opts...)
			if backwards {
				slices.Reverse(list.(*batchv1.JobList).Items)
			}
			return err
		}}).Build()
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "one"}}
	for _, backwards = range []bool{false, true} {
		g.Expect((&Reconciler{Client: c}).jobOf(t.Context(), s)).To(Equal("Job b has not ended"))
	}
	s.Name = "two"
	g.Expect((&Reconciler{Client: c}).jobOf(t.Context(), s)).To(BeEmpty())
}

// Another object or another cause is written at once. The words of a driver can change with every try: they are written
// now and then.
func TestWhatASnapshotWaitsForIsCurrent(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	s := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "one"}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(s).WithObjects(s).Build()
	events := record.NewFakeRecorder(10)
	clock := clocktesting.NewFakePassiveClock(time.Now())
	r := &Reconciler{Client: c, APIReader: c, FieldManager: "test", EventRecorder: events, Clock: clock}
	const content = v1alpha1.ReasonContentNotDeleted
	driver := func(name string, words *string) wait {
		object := &snapshotv1.VolumeSnapshotContent{Status: &snapshotv1.VolumeSnapshotContentStatus{}}
		object.Spec.Driver = "disk"
		if words != nil {
			object.Status.Error = &snapshotv1.VolumeSnapshotError{Message: words}
		}
		w := keepsTerminating("VolumeSnapshotContent "+name, object)
		w.reason = content
		return w
	}
	refused := func(words string) wait {
		return refusal(content, fmt.Errorf("delete VolumeSnapshotContent a: %w", errors.New(words)))
	}
	for _, step := range []struct {
		wait
		after          time.Duration
		written, event bool
	}{
		{wait: inUse("Job a has not ended"), written: true},
		{wait: inUse("Job b has not ended"), written: true},
		{wait: inUse("Job b has not ended")},
		{wait: inUse("Job b has not ended"), after: 10 * time.Minute},
		{wait: wait{"Other", inUse("Job b has not ended").cause, "", true}, written: true, event: true},
		{wait: refused("forbidden: no"), written: true, event: true},
		{wait: refused("forbidden: never")},
		{wait: refused("forbidden: never"), after: 10 * time.Minute, written: true},
		{wait: refused("webhook")},
		{wait: refused("a clock was ahead"), after: -time.Hour, written: true},
		{wait: driver("a", nil), written: true, event: true},
		{wait: driver("a", new("1")), written: true, event: true},
		{wait: driver("a", new("2: 3"))},
		{wait: driver("a", new("3")), after: 10 * time.Minute, written: true},
		{wait: driver("b", new("3")), written: true, event: true},
	} {
		g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
		before, message := s.ResourceVersion, step.cause+step.words
		if step.warns {
			message += retention.HowToGiveUp(s)
		}
		if is := conditions.Get(s, v1alpha1.ConditionWiped); is != nil {
			clock.SetTime(is.LastTransitionTime.Add(step.after))
		}
		g.Expect(r.markWaiting(t.Context(), s, step.wait)).To(Succeed())
		g.Expect(s.ResourceVersion != before).To(Equal(step.written), message)
		if step.written {
			g.Expect(conditions.GetMessage(s, v1alpha1.ConditionWiped)).To(Equal(message))
		}
		if step.event {
			g.Expect(events.Events).To(Receive(HaveSuffix(message)))
		}
	}
	g.Expect(events.Events).NotTo(Receive())
}

// A clock that was a year ahead has dated a deletion. What blocks it must be said this year.
func TestADeletionThatAWrongClockHasDatedCountsAsOld(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	all := make([]snapshotv1.VolumeSnapshot, 3)
	all[1].DeletionTimestamp = new(metav1.NewTime(now.Add(-time.Hour)))
	index, age := longestTerminating(all, now)
	g.Expect(index).To(Equal(1))
	g.Expect(age).To(Equal(time.Hour))
	all[2].DeletionTimestamp = new(metav1.NewTime(now.AddDate(1, 0, 0)))
	index, age = longestTerminating(all, now)
	g.Expect(index).To(Equal(2))
	g.Expect(interval(age)).To(Equal(seldom))
}

// A clock that was a year ahead has dated the last look at the VolumeSnapshots. The next look must not go unsaid until
// then.
func TestTheLastCheckIsNotStillToCome(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	r := &Reconciler{Clock: clocktesting.NewFakePassiveClock(now)}
	for name, tt := range map[string]struct {
		at     time.Time
		writes bool
	}{
		"an hour ago":   {now.Add(-time.Hour), false},
		"two days ago":  {now.AddDate(0, 0, -2), true},
		"still to come": {now.AddDate(1, 0, 0), true},
	} {
		g, s := NewWithT(t), &v1alpha1.Snapshot{}
		s.Status.Phase, s.Status.LastCheckTime = v1alpha1.SnapshotSucceeded, new(metav1.NewTime(tt.at))
		out, _, err := r.checked(t.Context(), s, nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(out != nil).To(Equal(tt.writes), name)
		if tt.writes {
			g.Expect(out.Status.LastCheckTime.Time).To(BeTemporally("==", now))
		}
	}
}
