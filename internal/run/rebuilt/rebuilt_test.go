package rebuilt

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
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
				s, refusal := Snapshot(&v1alpha1.Repository{}, f, Policies{}, now)
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

// Whoever can write to the backend of one Repository must not decide what the restore of another batch brings back.
func TestALabelOfTheBucketMakesNoRestorePoint(t *testing.T) {
	t.Parallel()
	batch := func(name string) v1alpha1.BackupBatch {
		return v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-batch"}}
	}
	child := func(of, repository string) v1alpha1.BackupConfiguration {
		b := batch(of)
		return v1alpha1.BackupConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: of + "-web", OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(&b, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupBatchKind)),
			}},
			Spec: v1alpha1.BackupConfigurationSpec{Sessions: []v1alpha1.BackupConfigurationSession{{
				Repositories: []v1alpha1.RepositoryInfo{{Name: repository}},
			}}},
		}
	}
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
			with(child("shop", "web")), false,
		},
		"another batch than that of the Repository": {names(v1alpha1.BackupBatchKind, "other"), Policies{}, true},
		"a batch, and the Repository of a BackupConfiguration": {
			names(v1alpha1.BackupConfigurationKind, "shop"), Policies{}, true,
		},
		"a batch that uses other Repositories": {
			nil, with(child("shop", "db")), true,
		},
		"a batch that exists no more": {nil, Policies{Batches: []v1alpha1.BackupBatch{batch("other")}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: tt.repository}}
			s, refusal := Snapshot(r, found(func(*task.Found) {}), tt.known, now)
			g.Expect(refusal).To(BeEmpty(), "its data can be restored in any case")
			for _, key := range []string{
				v1alpha1.LabelInvokerKind, v1alpha1.LabelInvokerName, v1alpha1.LabelConfiguration,
				v1alpha1.LabelRestorePoint,
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
