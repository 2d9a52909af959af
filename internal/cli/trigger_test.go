package cli_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/policy"
)

// whenThere calls act on an object as soon as it exists, as a controller does. The effect of act can come before its
// answer. The test and its context can end meanwhile, so act has its own context.
func whenThere(t testing.TB, o client.Object, act func(context.Context) error) {
	t.Helper()
	done := make(chan error, 1)
	ctx := t.Context()
	go func() {
		again := time.NewTicker(5 * time.Millisecond)
		defer again.Stop()
		for ; ; <-again.C {
			if err := bed.Client.Get(ctx, client.ObjectKeyFromObject(o), o); err == nil {
				done <- act(context.WithoutCancel(ctx))
				return
			} else if client.IgnoreNotFound(err) != nil {
				done <- err
				return
			}
		}
	}()
	t.Cleanup(func() { NewWithT(t).Expect(<-done).To(Succeed()) })
}

// ends writes the status of a BackupSession as soon as it exists.
func ends(t testing.TB, ns, name string, phase v1alpha1.BackupSessionPhase, reason, message string) {
	t.Helper()
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	whenThere(t, s, func(ctx context.Context) error {
		succeeded := string(v1alpha1.BackupSessionSucceeded)
		ready := metav1.Condition{
			Type: "Ready", Status: metav1.ConditionFalse, Reason: reason, Message: message,
			LastTransitionTime: metav1.NewTime(pinned),
		}
		conditions := []metav1.Condition{ready}
		if phase == v1alpha1.BackupSessionSucceeded {
			conditions[0].Status = metav1.ConditionTrue
		}
		if reason == v1alpha1.ReasonPartial {
			ready.Type, ready.Status = v1alpha1.ConditionPartial, metav1.ConditionTrue
			conditions, reason = append(conditions, ready), succeeded
		}
		target := v1alpha1.BackupTargetStatus{
			Name: "web", Phase: phase, Reason: reason, Size: "12.222 MiB",
			Uploaded: "1.500 MiB",
		}
		target.AppRef = v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "Deployment", Name: "web"}
		s.Status.Phase, s.Status.Reason, s.Status.Duration = phase, reason, "41s"
		s.Status.Targets, s.Status.Conditions = []v1alpha1.BackupTargetStatus{target}, conditions
		return bed.Client.Status().Update(ctx, s)
	})
}

func TestTrigger(t *testing.T) {
	ns := namespace(t, "trigger")
	for _, o := range read(t, "testdata/shop.yaml") {
		if strings.HasPrefix(o.GetKind(), "Backup") && o.GetKind() != v1alpha1.BackupSessionKind { // the policies
			o.SetNamespace(ns)
			NewWithT(t).Expect(bed.Client.Create(t.Context(), o)).To(Succeed())
		}
	}
	name := policy.BackupSessionName("shop", "nightly", pinned)

	t.Run("creates the session of this moment", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "trigger", "batch/shop", "--session", "nightly", "-n", ns)
		g.Expect(r).To(Equal(result{out: "backupsession/" + name + " created\n"}))
		var s v1alpha1.BackupSession
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &s)).To(Succeed())
		g.Expect(s.Spec.Invoker).
			To(Equal(v1alpha1.TypedLocalObjectReference{APIGroup: v1alpha1.Group, Kind: "BackupBatch", Name: "shop"}))
		g.Expect(s.Spec.Session).To(Equal("nightly"))
		g.Expect(s.Spec.ScheduledTime.Time).To(BeTemporally("==", pinned))
	})

	t.Run("the same moment is not run twice", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "trigger", "backupbatch/shop", "--session", "nightly", "-n", ns)
		g.Expect(r).
			To(Equal(result{out: "backupsession/" + name + " exists already: this session was started a moment ago\n"}))
	})

	t.Run("a name in use by another policy is qualified", func(t *testing.T) {
		g := NewWithT(t)
		taken := policy.BackupSessionName("photos", "by-hand", pinned)
		other := &v1alpha1.BackupSession{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: taken},
			Spec: v1alpha1.BackupSessionSpec{
				Invoker: v1alpha1.TypedLocalObjectReference{
					APIGroup: v1alpha1.Group, Kind: "BackupConfiguration",
					Name: "photos-by",
				}, Session: "hand",
			},
		}
		g.Expect(bed.Client.Create(t.Context(), other)).To(Succeed())
		r := runIn(t, "trigger", "bc/photos", "--session", "by-hand", "-n", ns)
		want := policy.QualifiedBackupSessionName("BackupConfiguration", ns, "photos", "by-hand", pinned)
		g.Expect(r).To(Equal(result{out: "backupsession/" + want + " created\n"}))
	})
	t.Run("a run that accepts a loss", func(t *testing.T) {
		g := NewWithT(t)
		r := runIn(t, "trigger", "batch/shop", "--session", "hourly", "--accept-shrink", "-n", ns)
		g.Expect(r.code).To(BeZero(), r.err)
		name := strings.TrimSuffix(strings.TrimPrefix(r.out, "backupsession/"), " created\n")
		var s v1alpha1.BackupSession
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &s)).To(Succeed())
		g.Expect(s.Spec.AcceptShrink).To(BeTrue())
	})

	mistakes := map[string]struct {
		args string
		want result
	}{
		"a session that is not there": {
			"trigger batch/shop --session weekly",
			result{code: 1, err: "error: BackupBatch/shop has no session weekly: it has hourly, nightly\n"},
		},
		"no session": {
			"trigger batch/shop",
			result{
				code: 2, err: "error: say which session to run with --session: BackupBatch/shop has hourly, nightly\n",
			},
		},
		"a policy that is not there": {
			"trigger bc/nosuch --session hourly",
			result{
				code: 1,
				err: "error: there is no BackupConfiguration nosuch in namespace trigger: \"cairn get policies\" " +
					"lists them\n",
			},
		},
		"not a policy": {
			"trigger shop --session hourly",
			result{
				code: 2,
				err: "error: \"shop\" is not a policy: write bc/NAME for a BackupConfiguration or batch/NAME for " +
					"a BackupBatch\n",
			},
		},
	}
	for name, tt := range mistakes {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(runIn(t, append(strings.Fields(tt.args), "-n", ns)...)).To(Equal(tt.want))
		})
	}
}

func TestTriggerWait(t *testing.T) {
	hourly := policy.BackupSessionName("shop", "hourly", pinned)
	tests := map[string]struct {
		phase           v1alpha1.BackupSessionPhase
		reason, message string
		code            int
		out, err        string
	}{
		"a run that succeeds is 0": {
			v1alpha1.BackupSessionSucceeded, "Succeeded", "all targets are backed up", 0,
			"target web: succeeded, 12.2 MiB backed up, 1.5 MiB uploaded\nbackupsession/" + hourly +
				" succeeded in 41s\n", "",
		},
		"a run that lacks something is 0, with a warning": {
			v1alpha1.BackupSessionSucceeded, v1alpha1.ReasonPartial, "web: pod-1 is missing", 0,
			"target web: succeeded, 12.2 MiB backed up, 1.5 MiB uploaded\nbackupsession/" + hourly +
				" succeeded in 41s\n", "warning: web: pod-1 is missing\n",
		},
		"a run that fails is 3": {
			v1alpha1.BackupSessionFailed, "TargetsFailed", "1 of 1 targets failed", 3,
			"target web: failed (TargetsFailed)\n", "error: backupsession/" + hourly +
				" failed in 41s (TargetsFailed): 1 of 1 targets failed\n",
		},
		"a run that is skipped is 4": {
			v1alpha1.BackupSessionSkipped, "RestoreInProgress", "a restore is in progress", 4,
			"target web: skipped (RestoreInProgress)\n", "error: backupsession/" + hourly +
				" skipped in 41s (RestoreInProgress): a restore is in progress\n",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ns := namespace(t, "wait-"+strings.ToLower(string(tt.phase)+tt.reason))
			load(t, "testdata/batch.yaml", ns)
			ends(t, ns, hourly, tt.phase, tt.reason, tt.message)
			r := runIn(t, "trigger", "batch/shop", "--session", "hourly", "-n", ns, "--wait", "--timeout", "30s")
			g.Expect(r.code).To(Equal(tt.code))
			// It is chance whether the program looks before the status is written.
			out := strings.Replace(strings.TrimPrefix(r.out, "backupsession/"+hourly+" created\n"), "pending\n", "", 1)
			g.Expect(out).To(Equal(tt.out))
			g.Expect(r.err).To(Equal(tt.err))
		})
	}

	t.Run("a run that takes too long is 5", func(t *testing.T) {
		ns := namespace(t, "wait-long")
		load(t, "testdata/batch.yaml", ns)
		r := runIn(t, "trigger", "batch/shop", "--session", "hourly", "-n", ns, "--wait", "--timeout", "200ms")
		r.out = strings.Replace(r.out, "pending\n", "", 1) // whether its first look is answered in time is chance
		NewWithT(t).Expect(r).To(Equal(result{
			5, "backupsession/" + hourly + " created\n",
			"error: backupsession/" + hourly + " has not ended within 200ms and goes on in the cluster\n",
		}))
	})

	t.Run("a run that is deleted is 3", func(t *testing.T) {
		ns := namespace(t, "wait-deleted")
		load(t, "testdata/batch.yaml", ns)
		s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: hourly}}
		whenThere(t, s, func(ctx context.Context) error { return bed.Client.Delete(ctx, s) })
		r := runIn(t, "trigger", "batch/shop", "--session", "hourly", "-n", ns, "--wait", "--timeout", "30s")
		NewWithT(t).Expect(r.code).To(Equal(3))
		NewWithT(t).Expect(r.err).To(Equal("error: backupsession/" + hourly + " was deleted before it ended\n"))
	})

	t.Run("a wait that is interrupted leaves the run alone", func(t *testing.T) {
		g := NewWithT(t)
		ns := namespace(t, "wait-interrupted")
		load(t, "testdata/batch.yaml", ns)
		s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: hourly}}
		ctx, interrupt := context.WithCancel(t.Context())
		var out firstLook
		out.then = interrupt
		var errOut bytes.Buffer
		code := cli.Run(ctx, command.Options{
			IOStreams: genericiooptions.IOStreams{Out: &out, ErrOut: &errOut},
			Clock:     clocktesting.NewFakePassiveClock(pinned),
			Poll:      20 * time.Millisecond,
		}, []string{"trigger", "batch/shop", "--session", "hourly", "-n", ns, "--wait", "--kubeconfig", bed.Kubeconfig})
		g.Expect(code).To(Equal(1))
		g.Expect(errOut.String()).To(Equal("error: interrupted: backupsession/" + hourly + " goes on in the cluster\n"))
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
	})
}

// firstLook calls then when the program prints what it saw at its first look.
type firstLook struct {
	then func()
}

func (f *firstLook) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), "pending") {
		f.then()
	}
	return len(p), nil
}
