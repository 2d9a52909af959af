package cli_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestRestoreOfABatch(t *testing.T) {
	ns := namespace(t, "restore-batch")
	g := NewWithT(t)
	g.Expect(bed.Client.Create(t.Context(), &v1alpha1.BackupBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "shop"},
		Spec: v1alpha1.BackupBatchSpec{
			Targets: []v1alpha1.BatchTarget{
				{Name: "web", AppRef: v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "Deployment", Name: "web"}},
				{
					Name:   "uploads",
					AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "uploads"},
				},
			},
			Sessions: []v1alpha1.BackupBatchSession{{
				SessionConfig: v1alpha1.SessionConfig{Name: "hourly"},
				Targets:       []v1alpha1.BatchSessionTarget{{Name: "web"}, {Name: "uploads"}},
			}},
		},
	})).To(Succeed())
	get := func(name string) *v1alpha1.RestoreBatch {
		t.Helper()
		var b v1alpha1.RestoreBatch
		NewWithT(t).Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &b)).To(Succeed())
		return &b
	}

	t.Run("all that the BackupBatch has, from the newest run", func(t *testing.T) {
		g := NewWithT(t)
		args := []string{"restore", "-n", ns, "--batch", "shop", "--retries", "2", "--verify"}
		name := fmt.Sprintf("shop-%d", pinned.Unix())
		g.Expect(runIn(t, args...)).To(Equal(result{out: "restorebatch/" + name + " created\n"}))
		b := get(name)
		g.Expect(b.Spec.DataSource).
			To(Equal(v1alpha1.RestoreBatchDataSource{BackupBatch: "shop", BackupSession: "latest"}))
		g.Expect(b.Spec.Targets).
			To(Equal([]v1alpha1.RestoreBatchTarget{{Name: "web", Verify: true}, {Name: "uploads", Verify: true}}))
		g.Expect(b.Spec.RetryConfig.MaxRetry).To(Equal(int32(2)))

		g.Expect(runIn(t, args...)).To(Equal(result{
			out: "restorebatch/" + name +
				" exists already: nothing is restored again. Choose another name for another restore\n",
		}))
		g.Expect(runIn(t, "restore", name, "-n", ns, "--batch", "shop")).To(Equal(result{
			code: 1,
			err:  "error: restorebatch/" + name + " exists already and restores something else: choose another name\n",
		}))
	})
	t.Run("some, of a BackupBatch that is gone, from elsewhere", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "restore", "old", "-n", ns, "--batch", "blog", "--only", "db,web", "--from-namespace",
			"elsewhere",
			"--encryption-secret", "key",
			"--at", "2026-11-19T21:00:00+01:00", "--session", "hourly", "--mixed", "--sequential",
			"--scale-down", "deployment/web,sts/db")
		g.Expect(r).To(Equal(result{out: "restorebatch/old created\n"}))
		b := get("old")
		g.Expect(b.Spec.DataSource.PITR.TargetTime.UTC().Hour()).To(Equal(20))
		b.Spec.DataSource.PITR = nil
		g.Expect(b.Spec.DataSource).To(Equal(v1alpha1.RestoreBatchDataSource{
			Namespace: "elsewhere", BackupBatch: "blog", Session: "hourly", Mixed: true,
			EncryptionSecret: &v1alpha1.ObjectReference{Name: "key"},
		}))
		g.Expect(b.Spec.Targets).To(Equal([]v1alpha1.RestoreBatchTarget{{Name: "db"}, {Name: "web"}}))
		g.Expect(b.Spec.ScaleDown).To(
			Equal([]v1alpha1.ScaleDown{{Kind: "Deployment", Name: "web"}, {Kind: "StatefulSet", Name: "db"}}))
		g.Expect(b.Spec.ExecutionOrder).To(Equal(v1alpha1.ExecutionSequential))
	})
	t.Run("one target as the user that its files belong to", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "restore", "as", "-n", ns, "--batch", "shop", "--run-as-user", "uploads/1000")
		g.Expect(r.code).To(BeZero(), r.err)
		b := get("as")
		g.Expect(b.Spec.Targets[0]).To(Equal(v1alpha1.RestoreBatchTarget{Name: "web"}))
		g.Expect(b.Spec.Targets[1].Addon.Name).To(Equal("pvc-addon"))
		g.Expect(*b.Spec.Targets[1].Addon.JobTemplate.Spec.SecurityContext.RunAsUser).To(Equal(int64(1000)))
	})
	t.Run("of a BackupBatch that is gone, with no targets named", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "restore", "-n", ns, "--batch", "blog")
		g.Expect(r.code).To(Equal(1))
		g.Expect(r.err).To(ContainSubstring("correct the name, or, if it was deleted, name its targets with --only"))
	})
	t.Run("flags that cannot be used together", func(t *testing.T) {
		for _, tt := range []struct{ args, err string }{
			{"--batch shop --target web", "--target is for one target"},
			{"--batch shop --snapshot s", "--snapshot is for one target"},
			{
				"--batch shop --delete-extra", "--delete-extra is for one target and cannot be used with --batch: " +
					"save what --dry-run prints, write deleteExtraFiles into its targets, and apply it",
			},
			{"--snapshot s --target a --mixed", "--mixed needs --batch"},
			{"--batch shop --at 2026-11-19T20:00:00Z --backup-session s", "cannot be used together"},
			{"--batch shop --at yesterday", "invalid --at"},
			{"--batch shop --scale-down daemonset/web", "deployment/NAME or statefulset/NAME"},
			{"--batch shop --retries -1", "0 or more"},
			{"--batch shop --run-as-user 1000", "with --batch write TARGET/1000"},
			{"--batch shop --run-as-user web/me", "--run-as-user must be 0 or more"},
			{"--batch blog --only web --run-as-user web/1000", "pass --addon web/ADDON"},
		} {
			g := NewWithT(t)
			r := runIn(t, append([]string{"restore", "-n", ns}, strings.Fields(tt.args)...)...)
			g.Expect(r.code).To(Equal(2), tt.args)
			g.Expect(r.err).To(ContainSubstring(tt.err), tt.args)
		}
	})
	t.Run("waits, and is shown", func(t *testing.T) {
		g := NewWithT(t)
		b := &v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "waits"}}
		whenThere(t, b, func(ctx context.Context) error {
			b.Status = v1alpha1.RestoreBatchStatus{
				Phase: v1alpha1.RestoreSessionFailed, Reason: v1alpha1.ReasonTargetsFailed, Duration: "3s",
				RestorePoint: "shop-hourly-1",
				Resolved:     &v1alpha1.ResolvedRestoreBatch{Targets: []v1alpha1.ResolvedRestoreTarget{}},
				Targets: []v1alpha1.RestoreTargetStatus{
					{Name: "web", Phase: v1alpha1.RestoreSessionSucceeded, Reason: "Succeeded", Snapshot: "shop-web-1"},
					{
						Name: "uploads", Phase: v1alpha1.RestoreSessionFailed, Reason: "VolumeNotEmpty",
						Message: "it holds files",
					},
				},
				ScaledDown: []v1alpha1.ScaledWorkload{
					{
						Kind: "Deployment", Name: "web", UID: "1", Before: 2, Replicas: 2, Phase: v1alpha1.ScaleLeft,
						Message: "scale it up",
					},
				},
				Conditions: []metav1.Condition{{
					Type: "Ready", Status: metav1.ConditionFalse, Reason: "TargetsFailed",
					Message:            "not restored: target uploads",
					LastTransitionTime: metav1.NewTime(pinned),
				}},
			}
			return bed.Client.Status().Update(ctx, b)
		})
		r := runIn(t, "restore", "waits", "-n", ns, "--batch", "shop", "--wait", "--timeout", "30s")
		g.Expect(r.code).To(Equal(3))
		g.Expect(r.out).
			To(
				HaveSuffix("target web: succeeded, Snapshot shop-web-1\ntarget uploads: failed (VolumeNotEmpty): it " +
					"holds files\n"))
		g.Expect(r.err).
			To(Equal("error: restorebatch/waits failed in 3s (TargetsFailed): not restored: target uploads\n"))

		r = runIn(t, "get", "restorebatches", "waits", "-n", ns)
		g.Expect(r.out).To(MatchRegexp(`(?m)^waits +shop +shop-hourly-1 +1/2 +Failed +TargetsFailed`))
		g.Expect(r.out).To(ContainSubstring("target uploads: failed (VolumeNotEmpty): it holds files"))
		g.Expect(r.out).To(ContainSubstring("Deployment/web: scale it up"))
		g.Expect(runIn(t, "get", "rb", "old", "-n", ns).out).
			To(MatchRegexp(`(?m)^old +blog +by 2026-11-19T20:00:00Z +0/2 +Pending`))
	})
	t.Run("warns of what is not as it was", func(t *testing.T) { warnings(t, ns) })
}

// warnings lets RestoreBatches succeed that left something out, and expects what --wait says of it.
func warnings(t *testing.T, ns string) {
	const partial = "all data is restored, but not all owners and attributes: see the condition Partial of " +
		"RestoreSession NAME-web"
	const owners = "7 owners of files and directories not restored: they belong to the user that the restore ran as. " +
		"If a program needs them as another user, restore these targets (uploads) with --run-as-user"
	const links = "hard links are files of their own (entries: 5)"
	for name, tt := range map[string]struct {
		lost    []int64 // of uploads; none means that its RestoreSession is gone
		left    bool
		partial string
		want    string
		links   int64 // that uploads lost
	}{
		"nothing":  {[]int64{0}, false, "", "", 0},
		"links":    {[]int64{1}, false, partial, "warning: " + strings.ReplaceAll(partial, "NAME", "links") + "\n", 0},
		"owners":   {[]int64{7}, false, partial, "warning: " + owners + "\n", 0},
		"unseen":   {nil, false, partial, "warning: " + strings.ReplaceAll(partial, "NAME", "unseen") + "\n", 0},
		"replicas": {[]int64{1}, true, "no replicas: Deployment/web", "warning: no replicas: Deployment/web\n", 0},
		"less":     {[]int64{0}, false, "less than others", "warning: less than others\n", 0},
		"newer":    {[]int64{0}, false, "newer ones", "warning: newer ones\n", 0},
		"both":     {[]int64{7}, true, "no replicas", "warning: no replicas; " + owners + "\n", 0},
		"names":    {[]int64{0}, false, partial, "warning: target uploads: " + links + "\n", 5},
		"mix":      {[]int64{7}, false, partial, "warning: target uploads: " + links + "; " + owners + "\n", 5},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, lost := range tt.lost {
				s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name + "-uploads"}}
				s.Spec.Target = &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "uploads"}
				s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "shop-uploads-1"}
				bed.Create(t, s)
				bed.EditStatus(t, s, func() {
					s.Status.Components = map[string]v1alpha1.RestoredComponent{
						"pvc": {OwnersNotRestored: lost, LinksNotRestored: tt.links},
					}
					s.Status.Phase = v1alpha1.RestoreSessionSucceeded
					s.Status.Conditions = []metav1.Condition{{
						Type: v1alpha1.ConditionPartial, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonPartial,
						Message: links, LastTransitionTime: metav1.NewTime(pinned),
					}}
				})
			}
			b := &v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
			whenThere(t, b, func(ctx context.Context) error {
				b.Status.Phase, b.Status.Reason = v1alpha1.RestoreSessionSucceeded, v1alpha1.ReasonSucceeded
				b.Status.Targets = []v1alpha1.RestoreTargetStatus{{
					Name: "uploads", Phase: v1alpha1.RestoreSessionSucceeded, Snapshot: "shop-uploads-1",
					RestoreSession: name + "-uploads",
				}}
				if tt.left {
					b.Status.ScaledDown = []v1alpha1.ScaledWorkload{
						{Kind: "Deployment", Name: "web", UID: "1", Before: 2, Replicas: 2, Phase: v1alpha1.ScaleLeft},
					}
				}
				reason := v1alpha1.ReasonPartial
				switch name {
				case "less":
					reason = v1alpha1.ReasonHoldsLess
				case "newer":
					reason = v1alpha1.ReasonNewerSnapshot
				}
				if tt.partial != "" {
					b.Status.Conditions = []metav1.Condition{{
						Type: v1alpha1.ConditionPartial, Status: metav1.ConditionTrue, Reason: reason,
						Message:            strings.ReplaceAll(tt.partial, "NAME", name),
						LastTransitionTime: metav1.NewTime(pinned),
					}}
				}
				return bed.Client.Status().Update(ctx, b)
			})
			r := runIn(t, "restore", name, "-n", ns, "--batch", "shop", "--only", "uploads", "--wait", "--timeout",
				"30s")
			g.Expect(r.code).To(Equal(0), r.err)
			g.Expect(r.err).To(Equal(tt.want))
			shown := runIn(t, "get", "restorebatches", name, "-n", ns).out
			if tt.partial != "" {
				g.Expect(shown).To(MatchRegexp("Succeeded +(Partial|HoldsLess|NewerSnapshot) "))
				notes := strings.Join(strings.Fields(shown), " ") // a table wraps them
				g.Expect(notes).To(ContainSubstring(" " + strings.ReplaceAll(tt.partial, "NAME", name)))
			} else {
				g.Expect(shown).NotTo(ContainSubstring("REASON"))
			}
		})
	}
}
