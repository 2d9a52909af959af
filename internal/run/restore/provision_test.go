package restore_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// provisioned returns a just frozen restore of one host, whose claims get their volumes in these ways.
func provisioned(now time.Time, bindings map[string]v1alpha1.ClaimBinding) *v1alpha1.RestoreSession {
	host := v1alpha1.ResolvedRestoreHost{Name: "target"}
	for _, name := range []string{"a", "b"} {
		if binding, ok := bindings[name]; ok {
			host.Volumes = append(host.Volumes, v1alpha1.ResolvedRestoreVolume{
				Component: name, ID: "uid-" + name, ClaimName: "claim-" + name, Template: 1,
				Provision: &v1alpha1.ResolvedProvision{VolumeSnapshot: name, Binding: binding},
			})
		}
	}
	deadline := metav1.NewTime(now.Add(time.Hour))
	s := &v1alpha1.RestoreSession{}
	s.Name, s.UID = "r", "uid-restore"
	s.Status = v1alpha1.RestoreSessionStatus{
		Phase: v1alpha1.RestoreSessionRunning, Attempt: 1, RestoreDeadline: &deadline,
		StartTime: &metav1.Time{Time: now}, TotalComponents: int32(len(host.Volumes)),
		Resolved: &v1alpha1.ResolvedRestore{Snapshot: "shots", Hosts: []v1alpha1.ResolvedRestoreHost{host}},
	}
	return s
}

// reported returns a Job whose mover reported these components, and success unless one of them failed.
func reported(components ...task.ComponentResult) run.Job {
	result := &task.Result{Version: task.Version, Outcome: task.OutcomeSucceeded, Components: components}
	for _, c := range components {
		if c.Outcome != task.OutcomeSucceeded {
			result.Outcome = task.OutcomeFailed
		}
	}
	return run.Job{Observation: observe.Observation{State: observe.StateSucceeded, Result: result}, Finished: true}
}

func well(names ...string) []task.ComponentResult {
	var out []task.ComponentResult
	for _, name := range names {
		out = append(out, task.ComponentResult{Name: name, Outcome: task.OutcomeSucceeded})
	}
	return out
}

func TestHowClaimsOfVolumeSnapshotsEnd(t *testing.T) {
	now := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	bound, unbound := restore.ObservedClaim{UID: "u", Bound: true},
		restore.ObservedClaim{UID: "u", Warning: "the pool is full"}
	for name, tc := range map[string]struct {
		binding v1alpha1.ClaimBinding
		result  task.ComponentResult
		claim   restore.ObservedClaim
		want    v1alpha1.RestoreSessionPhase
		reason  string
		says    string
	}{
		"it has its volume": {
			v1alpha1.BindImmediate, well("a")[0], bound, v1alpha1.RestoreSessionSucceeded, "Succeeded", "",
		},
		"the mover reports a volume that does not exist": {
			v1alpha1.BindImmediate, well("a")[0], unbound, v1alpha1.RestoreSessionFailed, "VolumeNotBound",
			"the pool is full",
		},
		"the mover reports another claim": {
			v1alpha1.BindImmediate, well("a")[0],
			restore.ObservedClaim{Bound: true, Reason: v1alpha1.ReasonTargetNotFound, Wrong: "it is another"},
			v1alpha1.RestoreSessionFailed,
			"TargetNotFound", "it is another",
		},
		"the mover gave up": {
			v1alpha1.BindImmediate,
			task.ComponentResult{Name: "a", Outcome: task.OutcomeFailed, Reason: "VolumeNotBound", Error: "no volume"},
			unbound,
			v1alpha1.RestoreSessionFailed, "VolumeNotBound", "no volume: the pool is full",
		},
		"the mover gave up a claim that waits for a consumer": {
			v1alpha1.BindConsumer,
			task.ComponentResult{
				Name: "a", Outcome: task.OutcomeFailed, Reason: "NameConflict",
				Error: "another made it",
			},
			unbound,
			v1alpha1.RestoreSessionFailed, "NameConflict", "another made it: the pool is full",
		},
		"the mover gave up a claim with a volume": {
			v1alpha1.BindImmediate,
			task.ComponentResult{
				Name: "a", Outcome: task.OutcomeFailed, Reason: "NameConflict",
				Error: "another made it",
			},
			bound,
			v1alpha1.RestoreSessionFailed, "NameConflict", "another made it",
		},
		"it is left to its first consumer": {
			v1alpha1.BindLater, well("a")[0], unbound, v1alpha1.RestoreSessionUnknown, "VolumeNotBound",
			"when a pod mounts it",
		},
		"a pod was faster": {
			v1alpha1.BindLater, well("a")[0], bound, v1alpha1.RestoreSessionSucceeded, "Succeeded", "",
		},
		"a pod was faster than that of the restore": {
			v1alpha1.BindConsumer, well("a")[0], bound, v1alpha1.RestoreSessionSucceeded, "Succeeded", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := provisioned(now, map[string]v1alpha1.ClaimBinding{"a": tc.binding})
			d := restore.Next(restore.Input{
				Now: now, Session: s, Jobs: map[string]run.Job{
					restore.JobName("r", "target", 1): reported(tc.result),
				},
				Claims: map[string]restore.ObservedClaim{"claim-a": tc.claim},
			})
			g.Expect(d.Status.Phase).To(Equal(tc.want))
			g.Expect(d.Status.Reason).To(Equal(tc.reason))
			g.Expect(d.Status.Components["a"].Error).To(ContainSubstring(tc.says))
			g.Expect(d.Stamp).To(Equal(tc.want == v1alpha1.RestoreSessionSucceeded))
			g.Expect(d.StampMade).To(Equal(tc.want == v1alpha1.RestoreSessionUnknown))
			g.Expect(*d.Movers).To(BeEmpty(), "no Job is allowed to report to the status")
		})
	}
}

// An identical restore would end without running the hook that waits for a success.
func TestClaimsThatWereLeftToTheirFirstPodAreNotKnownAgainWithPostRestoreHooks(t *testing.T) {
	g := NewWithT(t)
	now := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	s := provisioned(now, map[string]v1alpha1.ClaimBinding{"a": v1alpha1.BindLater})
	s.Status.Resolved.Hooks = &v1alpha1.ResolvedHooks{
		Post: []v1alpha1.ResolvedHook{{Name: "greet", ExecutionPolicy: v1alpha1.HookOnSuccess}},
	}
	in := restore.Input{
		Now: now, Session: s, Jobs: map[string]run.Job{
			restore.JobName("r", "target", 1): reported(well("a")...),
		},
		Claims: map[string]restore.ObservedClaim{"claim-a": {UID: "u"}},
	}
	d := restore.Next(in)
	for range 3 {
		s.Status = d.Status
		if s.Status.Phase.Terminal() {
			break
		}
		d = restore.Next(in)
	}
	g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionUnknown))
	g.Expect(d.StampMade).To(BeFalse())
}

func TestAClaimThatAnEqualRestoreMade(t *testing.T) {
	v := &v1alpha1.ResolvedRestoreVolume{ID: "uid-shot"}
	made := provisioned(time.Now(), nil)
	made.Status.Resolved.SpecDigest = "sha256:yes"
	by := restore.Identical{Name: "r", Digests: []string{"sha256:yes"}}
	for name, tc := range map[string]struct {
		edit   func(*corev1.PersistentVolumeClaim)
		source types.UID
		want   bool
	}{
		"it is":                           {source: "uid-shot", want: true},
		"its VolumeSnapshot went":         {want: true},
		"its VolumeSnapshot was replaced": {source: "uid-other"},
		"it is made from the import of the restore": {
			source: "uid-import",
			edit: func(c *corev1.PersistentVolumeClaim) {
				c.Spec.DataSource.Name = policy.ImportName("uid-restore", "uid-shot")
			}, want: true,
		},
		"it is made from the import of another restore": {
			source: "uid-import",
			edit: func(c *corev1.PersistentVolumeClaim) {
				c.Spec.DataSource.Name = policy.ImportName("uid-other", "uid-shot")
			},
		},
		"it is made from another claim": {
			edit: func(c *corev1.PersistentVolumeClaim) { c.Spec.DataSource.Kind = "PersistentVolumeClaim" },
		},
		"it has no source": {edit: func(c *corev1.PersistentVolumeClaim) { c.Spec.DataSource = nil }},
		"another restore made it": {
			source: "uid-shot",
			edit: func(c *corev1.PersistentVolumeClaim) {
				c.Annotations[v1alpha1.AnnotationMade] = "sha256:no/uid-shot/claim"
			},
		},
		"one of another name made it": {
			source: "uid-shot",
			edit: func(c *corev1.PersistentVolumeClaim) {
				c.Annotations[v1alpha1.AnnotationMade] = "sha256:yes/uid-shot/claim/other"
			},
		},
		"one without a name made it, of an earlier version": {
			source: "uid-shot",
			edit: func(c *corev1.PersistentVolumeClaim) {
				c.Annotations[v1alpha1.AnnotationMade] = "sha256:yes/uid-shot/claim"
			}, want: true,
		},
		"its mark names no restore": {
			source: "uid-shot",
			edit: func(c *corev1.PersistentVolumeClaim) {
				c.Annotations[v1alpha1.AnnotationMade] = "sha256:yes/uid-shot/claim/"
			},
		},
		"it has lost its volume": {
			source: "uid-shot", edit: func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost },
		},
		"it is being deleted": {
			source: "uid-shot", edit: func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} },
		},
		"it was created again with its annotations": {
			source: "uid-shot", edit: func(c *corev1.PersistentVolumeClaim) { c.UID = "again" },
		},
		"its mark is of an earlier version": {
			source: "uid-shot", edit: func(c *corev1.PersistentVolumeClaim) {
				c.Annotations[v1alpha1.AnnotationMade] = "sha256:yes/uid-shot"
			},
		},
		"its mark names no source": {
			edit: func(c *corev1.PersistentVolumeClaim) { c.Annotations[v1alpha1.AnnotationMade] = "sha256:yes/" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{UID: "claim"}}
			claim.Annotations = map[string]string{
				v1alpha1.AnnotationMade:           restore.FormatMade(made, v, "claim"),
				v1alpha1.AnnotationRestoreSession: "uid-restore",
			}
			claim.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "VolumeSnapshot", Name: "shot"}
			if tc.edit != nil {
				tc.edit(claim)
			}
			NewWithT(t).Expect(restore.MadeByIdenticalRestore(claim, tc.source, by)).To(Equal(tc.want))
		})
	}
}

func TestWhatBecameOfAClaim(t *testing.T) {
	s := provisioned(time.Now(), map[string]v1alpha1.ClaimBinding{"a": v1alpha1.BindImmediate})
	v := &s.Status.Resolved.Hosts[0].Volumes[0]
	type seen struct {
		claim  *corev1.PersistentVolumeClaim
		volume *corev1.PersistentVolume
		source types.UID
	}
	for name, tc := range map[string]struct {
		edit         func(*seen)
		reason, says string
	}{
		"it has the volume that was made for it": {edit: func(*seen) {}},
		"it has no volume yet": {
			edit: func(i *seen) {
				i.claim.Status.Phase, i.claim.Spec.VolumeName, i.volume = corev1.ClaimPending, "", nil
			},
		},
		"its VolumeSnapshot went when it had its volume": {edit: func(i *seen) { i.source = "" }},
		"it does not exist": {
			edit: func(i *seen) { i.claim, i.volume = nil, nil }, reason: "TargetNotFound", says: "was deleted",
		},
		"it is being deleted": {
			edit: func(i *seen) { i.claim.DeletionTimestamp = new(metav1.Now()) }, reason: "TargetNotFound",
			says: "is being deleted",
		},
		"another made it": {
			edit: func(i *seen) { i.claim.Annotations = nil }, reason: "TargetNotFound",
			says: "is not the one that the restore made",
		},
		"it is made from something else": {
			edit: func(i *seen) { i.claim.Spec.DataSource.Name = "b" }, reason: "TargetNotFound",
			says: "is not made from VolumeSnapshot a",
		},
		"it is made from another kind": {
			edit: func(i *seen) { i.claim.Spec.DataSource.Kind = "PersistentVolumeClaim" }, reason: "TargetNotFound",
			says: "is not made from VolumeSnapshot a",
		},
		"it has no source": {
			edit: func(i *seen) { i.claim.Spec.DataSource = nil }, reason: "TargetNotFound",
			says: "is not made from VolumeSnapshot a",
		},
		"it is made from another VolumeSnapshot of that name": {
			edit: func(i *seen) { i.source = "another" }, reason: "TargetNotFound", says: "was replaced",
		},
		"it is lost": {
			edit: func(i *seen) { i.claim.Status.Phase = corev1.ClaimLost }, reason: "TargetNotFound",
			says: "has lost its volume",
		},
		"its volume is gone": {edit: func(i *seen) { i.volume = nil }, reason: "WrongVolume", says: "is gone"},
		"it got a volume that was free": {
			edit: func(i *seen) {
				i.volume.Annotations = map[string]string{
					"pv.kubernetes.io/provisioned-by": "csi", "pv.kubernetes.io/bound-by-controller": "yes",
				}
			},
			reason: "WrongVolume", says: "the free PersistentVolume pv",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := seen{
				claim: &corev1.PersistentVolumeClaim{
					ObjectMeta: metav1.ObjectMeta{
						UID: "claim", Annotations: map[string]string{v1alpha1.AnnotationRestoreSession: string(s.UID)},
					},
					Spec: corev1.PersistentVolumeClaimSpec{
						VolumeName: "pv",
						DataSource: &corev1.TypedLocalObjectReference{Kind: "VolumeSnapshot", Name: "a"},
					},
					Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
				},
				volume: &corev1.PersistentVolume{
					ObjectMeta: metav1.ObjectMeta{
						Name: "pv", Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": "csi"},
					},
				},
				source: types.UID(v.ID),
			}
			tc.edit(&in)
			made := restore.ObserveClaim(s, v, in.claim, in.source, in.volume)
			g.Expect(made.Reason).To(Equal(tc.reason))
			g.Expect(made.Wrong).To(ContainSubstring(tc.says))
			g.Expect(made.Wrong == "").To(Equal(tc.reason == ""))
		})
	}
}

// One of two claims gets its volume at once, the other when a second Job mounts it.
func TestASecondJobMountsTheClaimsThatWaitForThat(t *testing.T) {
	g := NewWithT(t)
	now := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	s := provisioned(now, map[string]v1alpha1.ClaimBinding{"a": v1alpha1.BindImmediate, "b": v1alpha1.BindConsumer})
	in := restore.Input{Now: now, Session: s}
	d := restore.Next(in)
	g.Expect(d.Create).To(Equal([]int{0}))
	g.Expect(restore.Mounting(&s.Status.Resolved.Hosts[0], d.Status.Components)).To(BeFalse())

	first, mount := restore.JobName("r", "target", 1), restore.ConsumerJobName("r", "target", 1)
	in.Jobs = map[string]run.Job{first: reported(well("a", "b")...)}
	in.Claims = map[string]restore.ObservedClaim{"claim-a": {UID: "ua", Bound: true}, "claim-b": {UID: "ub"}}
	d = restore.Next(in)
	g.Expect(d.Status.Components["a"].Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
	g.Expect(d.Status.Components["b"]).To(
		And(HaveField("Phase", BeEmpty()), HaveField("ClaimUID", BeEquivalentTo("ub"))))
	g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning))
	g.Expect(d.After).To(Equal(time.Second))

	s.Status = d.Status
	d = restore.Next(in)
	g.Expect(d.Create).To(Equal([]int{0}), "the Job that mounts was never seen")
	g.Expect(restore.Mounting(&s.Status.Resolved.Hosts[0], d.Status.Components)).To(BeTrue())

	in.Jobs[mount] = run.Job{}
	d = restore.Next(in)
	g.Expect(d.Status.Components["b"].Phase).To(Equal(v1alpha1.RestoreSessionPending))
	s.Status = d.Status
	gone := in
	gone.Jobs = map[string]run.Job{first: in.Jobs[first]}
	d = restore.Next(gone)
	g.Expect(d.Status.Components["b"].Reason).To(Equal(v1alpha1.ReasonJobVanished))
	g.Expect(d.Status.Components["a"].Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))

	in.Jobs[mount] = reported(well("b")...)
	unbound := restore.Next(in)
	g.Expect(unbound.Status.Components["b"].Reason).To(Equal(v1alpha1.ReasonVolumeNotBound), "whatever the mover says")
	in.Claims["claim-b"] = restore.ObservedClaim{UID: "ub", Bound: true}
	d = restore.Next(in)
	g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), d.Status.Reason)
}

// A storage system that copies a large volume takes longer than a pod is usually allowed to be without a node.
func TestAPodThatMountsClaimsWaitsForTheirVolumes(t *testing.T) {
	const year = 365 * 24 * time.Hour
	now := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		wait  string
		since time.Duration
		want  v1alpha1.RestoreSessionPhase
		ahead time.Duration
	}{
		"as long as the task says":             {"30m", 29 * time.Minute, v1alpha1.RestoreSessionRunning, 0},
		"no longer than that":                  {"30m", 31 * time.Minute, v1alpha1.RestoreSessionFailed, 0},
		"ten minutes if the task does not say": {"", 9 * time.Minute, v1alpha1.RestoreSessionRunning, 0},
		"its Job is dated ahead":               {"30m", 29 * time.Minute, v1alpha1.RestoreSessionRunning, year},
		"it is, and the time has passed":       {"30m", 31 * time.Minute, v1alpha1.RestoreSessionFailed, year},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := provisioned(now.Add(-tc.since), map[string]v1alpha1.ClaimBinding{"b": v1alpha1.BindConsumer})
			s.Status.Resolved.Task.Args = []string{"volume-restore", "--wait-timeout=" + tc.wait}
			s.Status.Components = map[string]v1alpha1.RestoredComponent{
				"b": {Phase: v1alpha1.RestoreSessionPending, ClaimUID: "ub"},
			}
			waits := run.Job{
				Created: now.Add(tc.ahead - tc.since),
				Observation: observe.Observation{
					State: observe.StateFailed, Reason: v1alpha1.ReasonUnschedulable, Message: "no node",
				},
			}
			d := restore.Next(restore.Input{
				Now: now, Session: s, Jobs: map[string]run.Job{restore.ConsumerJobName("r", "target", 1): waits},
				Claims: map[string]restore.ObservedClaim{"claim-b": {UID: "ub", Warning: "the pool is full"}},
			})
			g.Expect(d.Status.Phase).To(Equal(tc.want))
			if tc.want == v1alpha1.RestoreSessionFailed {
				g.Expect(d.Status.Components["b"].Error).To(ContainSubstring("no node: the pool is full"))
				g.Expect(d.Delete).To(HaveLen(1))
			}
		})
	}
}
