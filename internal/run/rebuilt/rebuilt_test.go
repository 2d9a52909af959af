package rebuilt

import (
	"math"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/retention"
	"github.com/cairn-backup/cairn/internal/run/restorebatch"
	"github.com/cairn-backup/cairn/internal/task"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// found is a Snapshot of the batch shop as it lies in the backend.
func found(edit func(*task.Found)) task.Found {
	f := task.Found{
		Name: "web-run", UID: "uid", Total: 1,
		Labels: map[string]string{
			v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind, v1alpha1.LabelInvokerName: "shop",
			v1alpha1.LabelConfiguration: "shop-web", v1alpha1.LabelRestorePoint: "run", v1alpha1.LabelSession: "s",
			v1alpha1.LabelRestorePointUID: "uid-run",
		},
		Spec:       v1alpha1.SnapshotSpec{SnapshotID: "id", BackupSession: "run", Session: "s"},
		Components: map[string]v1alpha1.Component{"pvc": {Phase: v1alpha1.SnapshotSucceeded, ID: "k"}},
	}
	edit(&f)
	return f
}

// A run finds its name free, whatever lies in the backend.
func TestForgedDataTakesNoNameOfALaterRun(t *testing.T) {
	t.Parallel()
	run := func(slot time.Time) string { return policy.BackupSessionName("shop", "nightly", slot) }
	for name, tt := range map[string]struct {
		run    string
		forged bool
	}{
		"a run of the past":         {run(now.Add(-time.Hour)), false},
		"a run of this second":      {run(now), false},
		"the next run":              {run(now.Add(time.Hour)), true},
		"a retry of the next run":   {policy.RetryName(run(now.Add(time.Hour))), true},
		"a run of next year":        {run(now.AddDate(0, 11, 0)), true},
		"a name with a date":        {"before-update-2026112112", false},
		"a name with a long number": {"before-update-20261121120000", false},
		"a name without a number":   {"before-update", false},
		"a name with a small one":   {"try-2", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			for _, f := range []task.Found{
				found(func(f *task.Found) { f.Name = policy.SnapshotName("web", tt.run) }),
				found(func(f *task.Found) { f.Spec.BackupSession = tt.run }),
			} {
				s, refusal := Snapshot(&v1alpha1.Repository{}, f, Policies{}, &Order{}, now)
				if tt.forged {
					g.Expect(refusal).To(Equal("it has the name of a run to come"))
					continue
				}
				g.Expect(refusal).To(BeEmpty())
				g.Expect(s.Name).To(Equal(f.Name))
			}
		})
	}
}

func batch(name string) v1alpha1.BackupBatch {
	return v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-batch"}}
}

// child is the BackupConfiguration of a target of a batch, a claim, which backs up into a Repository.
func child(of, target, repository string) v1alpha1.BackupConfiguration {
	b := batch(of)
	return v1alpha1.BackupConfiguration{
		ObjectMeta: metav1.ObjectMeta{
			Name: policy.ChildName(of, target), OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(&b, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupBatchKind)),
			},
		},
		Spec: v1alpha1.BackupConfigurationSpec{
			Target: claimNamed(target),
			Sessions: []v1alpha1.BackupConfigurationSession{{
				Repositories: []v1alpha1.RepositoryInfo{{Name: repository}},
			}},
		},
	}
}

func claimNamed(name string) *v1alpha1.TypedObjectReference {
	return &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: name}
}

// Whoever can write to the backend of one Repository must not decide what the restore of another batch brings back.
func TestALabelOfTheBucketMakesNoRestorePoint(t *testing.T) {
	t.Parallel()
	with := func(child v1alpha1.BackupConfiguration) Policies {
		return Policies{[]v1alpha1.BackupConfiguration{child}, []v1alpha1.BackupBatch{batch("shop")}}
	}
	names := func(kind, name string) map[string]string { return policy.Invoker{Kind: kind, Name: name}.Labels() }
	for name, tt := range map[string]struct {
		repository map[string]string
		known      Policies
		strange    bool
	}{
		"the batch of the Repository": {names(v1alpha1.BackupBatchKind, "shop"), Policies{}, false},
		"a batch that uses the Repository": {
			names(v1alpha1.BackupBatchKind, "other"),
			with(child("shop", "web", "web")), false,
		},
		"another batch than that of the Repository": {names(v1alpha1.BackupBatchKind, "other"), Policies{}, true},
		"a batch, and the Repository of a BackupConfiguration": {
			names(v1alpha1.BackupConfigurationKind, "shop"), Policies{}, true,
		},
		"a batch that uses other Repositories": {
			nil, with(child("shop", "web", "db")), true,
		},
		"a batch that exists no more": {nil, Policies{Batches: []v1alpha1.BackupBatch{batch("other")}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: tt.repository}}
			s, refusal := Snapshot(r, found(func(*task.Found) {}), tt.known, &Order{}, now)
			g.Expect(refusal).To(BeEmpty(), "its data can be restored in any case")
			for _, key := range []string{
				v1alpha1.LabelInvokerKind, v1alpha1.LabelInvokerName, v1alpha1.LabelConfiguration,
				v1alpha1.LabelRestorePoint, v1alpha1.LabelRestorePointUID,
			} {
				if tt.strange {
					g.Expect(s.Labels).NotTo(HaveKey(key))
				} else {
					g.Expect(s.Labels).To(HaveKey(key))
				}
			}
			g.Expect(s.Labels).To(HaveKeyWithValue(v1alpha1.LabelSession, "s"))
		})
	}
}

// Whoever can write to the backend of the Repository of one target must not decide what a restore of the whole batch
// brings back.
func TestTheBucketOfATargetMakesNoRestorePointOfOthers(t *testing.T) {
	t.Parallel()
	shop := batch("shop")
	shop.Spec.Targets = []v1alpha1.BatchTarget{
		{Name: "web", AppRef: *claimNamed("web")}, {Name: "db", AppRef: *claimNamed("db")},
	}
	shop.Spec.Sessions = []v1alpha1.BackupBatchSession{{Targets: []v1alpha1.BatchSessionTarget{
		{Name: "web", Repositories: []v1alpha1.RepositoryInfo{{Name: "web"}}}, {Name: "db"},
	}}}
	children := []v1alpha1.BackupConfiguration{child("shop", "web", "web"), child("shop", "db", "shop-db")}
	before := Policies{Batches: []v1alpha1.BackupBatch{shop}}
	after := Policies{children, before.Batches}
	for name, tt := range map[string]struct {
		known         Policies
		configuration string
		// of is the target of the Repository, and says that of the Snapshot in the backend.
		of, says string
		strange  bool
	}{
		"its own target":                              {after, "shop-web", "web", "web", false},
		"its own target, before the children":         {before, "shop-web", "web", "web", false},
		"its own target, and it does not say so":      {after, "shop-web", "", "web", false},
		"another target":                              {after, "shop-db", "web", "web", true},
		"another target, before the children":         {before, "shop-db", "web", "web", true},
		"a target that policy does not know":          {after, "shop-cache", "web", "web", true},
		"no target":                                   {after, "", "web", "web", true},
		"its own target, and another object":          {after, "shop-web", "db", "web", true},
		"its own target, and another object is found": {after, "shop-web", "", "db", true},
		"a batch that exists no more":                 {Policies{}, "shop-db", "web", "web", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{
				Name: "web", Labels: policy.Invoker{Kind: v1alpha1.BackupBatchKind, Name: "shop"}.Labels(),
			}}
			if tt.of != "" {
				r.Spec.AppRef = *claimNamed(tt.of)
			}
			s, refusal := Snapshot(r, found(func(f *task.Found) {
				f.Labels[v1alpha1.LabelConfiguration], f.Spec.AppRef = tt.configuration, *claimNamed(tt.says)
			}), tt.known, &Order{}, now)
			g.Expect(refusal).To(BeEmpty())
			at := metav1.NewTime(now)
			s.Status = v1alpha1.SnapshotStatus{Phase: v1alpha1.SnapshotSucceeded, SnapshotTime: &at}
			target := "web"
			if tt.configuration == "shop-db" {
				target = "db"
			}
			_, missing := restorebatch.ChooseSnapshots([]v1alpha1.Snapshot{*s}, &v1alpha1.RestoreBatchSpec{
				DataSource: v1alpha1.RestoreBatchDataSource{
					BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession,
				},
				Targets: []v1alpha1.RestoreBatchTarget{{Name: target}},
			}, now)
			g.Expect(missing != nil).To(Equal(tt.strange), "labels %v", s.Labels)
		})
	}
}

// A Snapshot of a half restored target stays one, whatever the backend calls the restore.
func TestAHalfRestoredSnapshotComesBackAsOne(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ mark, want string }{
		"no mark, or a file of an earlier version": {"", ""},
		"a RestoreSession":                         {"broke-off", "broke-off"},
		"a text that is no name":                   {"a\nb", "unknown"},
		"a text that is too long":                  {strings.Repeat("a", 254), "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s, refusal := Snapshot(&v1alpha1.Repository{}, found(func(f *task.Found) { f.HalfRestored = tt.mark }),
				Policies{}, &Order{}, now)
			g.Expect(refusal).To(BeEmpty())
			g.Expect(s.Annotations[v1alpha1.AnnotationHalfRestored]).To(Equal(tt.want))
			s.Status.Integrity = new(true)
			g.Expect(retention.Whole(s)).To(Equal(tt.want == ""), "also after an intact check")
		})
	}
}

// What a page says of a component comes from the backend: it sets no more than a mover may report.
func TestAPageSetsOnlyWhatAMoverReports(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	at := metav1.NewTime(now.Add(-time.Minute))
	good := v1alpha1.Component{
		Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverKopia, ID: "k", Path: "data",
		SizeBytes: 2048, Size: task.FormatSize(2048), UploadedBytes: 10, Uploaded: "10 B",
		ComponentCounts: v1alpha1.ComponentCounts{Files: 3, Unreadable: 1}, UnmatchedPatterns: []string{"*.tmp"},
		StartTime: &at, CompletionTime: &at, Duration: "1s",
	}
	failed := v1alpha1.Component{
		Phase: v1alpha1.SnapshotFailed, Driver: v1alpha1.DriverKopia, Reason: v1alpha1.ReasonSnapshotNotFound,
		Error: "the repository no longer holds the data",
	}
	forged := *good.DeepCopy()
	forged.Driver, forged.Size, forged.Uploaded = v1alpha1.DriverVolumeSnapshotter, "small", "nothing"
	forged.VolumeSnapshotterStats = []v1alpha1.VolumeSnapshotterStats{{VolumeSnapshotName: "of-another-program"}}
	forged.Integrity, forged.Progress = new(bool), &v1alpha1.ComponentProgress{}
	wild := *good.DeepCopy()
	wild.SizeBytes, wild.UploadedBytes, wild.Files, wild.Unreadable = math.MinInt64, math.MaxInt64, -1, math.MaxInt64
	unknown := v1alpha1.Component{Phase: v1alpha1.SnapshotRunning, ID: strings.Repeat("x", 1<<10)}
	r := &v1alpha1.Repository{Spec: v1alpha1.RepositorySpec{Driver: v1alpha1.DriverKopia}}
	s, refusal := Snapshot(r, found(func(f *task.Found) {
		f.Components = map[string]v1alpha1.Component{
			"good": good, "failed": failed, "forged": forged, "wild": wild, "unknown": unknown,
		}
	}), Policies{}, &Order{}, now)
	g.Expect(refusal).To(BeEmpty())
	c := s.Status.Components
	g.Expect(c["good"]).To(Equal(good), "an honest result stays as it is")
	g.Expect(c["failed"]).To(Equal(failed))
	g.Expect(c["forged"]).To(Equal(good))
	g.Expect(c["wild"].SizeBytes).To(BeZero())
	g.Expect(c["wild"].UploadedBytes).To(BeEquivalentTo(1 << 52))
	g.Expect(c["wild"].Files).To(BeZero())
	g.Expect(c["wild"].Unreadable).To(BeEquivalentTo(1 << 40))
	g.Expect(c["unknown"].Phase).To(Equal(v1alpha1.SnapshotFailed))
	g.Expect(c["unknown"].ID).To(BeEmpty())
}
