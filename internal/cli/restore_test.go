package cli_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestRestore(t *testing.T) {
	ns := namespace(t, "restore")

	t.Run("the newest of a repository, as a user", func(t *testing.T) {
		g := NewWithT(t)
		args := []string{"restore", "web-again", "-n", ns, "--repository", "shop-web", "--snapshot", "latest", "--target", "web-restored", "--run-as-user", "1000"}
		g.Expect(runIn(t, args...)).To(Equal(result{out: "restoresession/web-again created\n"}))
		var s v1alpha1.RestoreSession
		g.Expect(api.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "web-again"}, &s)).To(Succeed())
		g.Expect(*s.Spec.Target).To(Equal(v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web-restored"}))
		g.Expect(*s.Spec.DataSource).To(Equal(v1alpha1.RestoreDataSource{Repository: "shop-web", Snapshot: "latest"}))
		g.Expect(*s.Spec.Addon.JobTemplate.Spec.SecurityContext.RunAsUser).To(Equal(int64(1000)))

		g.Expect(runIn(t, args...)).To(Equal(result{
			out: "restoresession/web-again is already there: nothing is restored again. For another restore choose another name\n",
		}))
		r := runIn(t, "restore", "web-again", "-n", ns, "--repository", "shop-web", "--target", "other")
		g.Expect(r).To(Equal(result{code: 1, err: "error: restoresession/web-again exists and restores something else: choose another name\n"}))
	})

	t.Run("a component of a snapshot, with a name made of target and time", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "restore", "-n", ns, "--snapshot", "db-1", "--component", "pod-1", "--target", "db-copy")
		name := fmt.Sprintf("db-copy-%d", pinned.Unix())
		g.Expect(r).To(Equal(result{out: "restoresession/" + name + " created\n"}))
		var s v1alpha1.RestoreSession
		g.Expect(api.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &s)).To(Succeed())
		g.Expect(*s.Spec.DataSource).To(Equal(v1alpha1.RestoreDataSource{Snapshot: "db-1", Components: []string{"pod-1"}}))
		g.Expect(s.Spec.Addon).To(BeNil())
	})

	t.Run("a long target's name is cut", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "restore", "-n", ns, "--snapshot", "db-1", "--target", strings.Repeat("a", 51)+"-"+strings.Repeat("b", 60))
		g.Expect(r).To(Equal(result{out: fmt.Sprintf("restoresession/%s-%d created\n", strings.Repeat("a", 51), pinned.Unix())}))
	})
}

func TestRestoreWait(t *testing.T) {
	ns := namespace(t, "restore-wait")
	tests := map[string]struct {
		phase    v1alpha1.RestoreSessionPhase
		reason   string
		code     int
		out, err string
	}{
		"succeeded is 0": {
			v1alpha1.RestoreSessionSucceeded, "Succeeded", 0,
			"component data: succeeded, 12.0 MiB in 40 files, 2 owners not restored\nrestoresession/NAME succeeded in 3s\n", "",
		},
		"failed is 3": {
			v1alpha1.RestoreSessionFailed, "VolumeNotEmpty", 3,
			"component data: failed (VolumeNotEmpty): it holds files\n", "error: restoresession/NAME failed in 3s (VolumeNotEmpty): it holds files\n",
		},
		"invalid is 3": {
			v1alpha1.RestoreSessionInvalid, "SnapshotNotFound", 3,
			"component data: invalid (SnapshotNotFound): it holds files\n", "error: restoresession/NAME invalid in 3s (SnapshotNotFound): it holds files\n",
		},
		"skipped is 4": {
			v1alpha1.RestoreSessionSkipped, "AlreadyRestored", 4,
			"component data: skipped (AlreadyRestored): it holds files\n", "error: restoresession/NAME skipped in 3s (AlreadyRestored): it holds files\n",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			name := strings.ToLower(string(tt.phase))
			s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
			ctx := t.Context()
			whenThere(t, s, func() error {
				c := v1alpha1.RestoredComponent{Phase: tt.phase, Reason: tt.reason, Error: "it holds files", SizeBytes: 12 << 20, Files: 40, OwnersNotRestored: 2}
				s.Status.Phase, s.Status.Reason, s.Status.Duration = tt.phase, tt.reason, "3s"
				s.Status.Components = map[string]v1alpha1.RestoredComponent{"data": c}
				if tt.code != 0 {
					s.Status.Conditions = []metav1.Condition{{
						Type: "Ready", Status: metav1.ConditionFalse, Reason: tt.reason, Message: "it holds files", LastTransitionTime: metav1.NewTime(pinned),
					}}
				}
				return api.Status().Update(ctx, s)
			})
			r := runIn(t, "restore", name, "-n", ns, "--repository", "shop-web", "--target", "web-restored", "--wait", "--timeout", "30s")
			g.Expect(r.code).To(Equal(tt.code))
			out := strings.Replace(strings.TrimPrefix(r.out, "restoresession/"+name+" created\n"), "pending\n", "", 1)
			g.Expect(out).To(Equal(strings.ReplaceAll(tt.out, "NAME", name)))
			g.Expect(r.err).To(Equal(strings.ReplaceAll(tt.err, "NAME", name)))
		})
	}
}
