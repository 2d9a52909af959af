package backup_test

import (
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// copiedRun returns a run whose target has a copy "copy-<host>" of the claim of each host.
func copiedRun(class string, hosts ...string) *fixture {
	t := runtest.Target("a", hosts...)
	for _, h := range hosts {
		t.Copies = append(t.Copies, v1alpha1.ResolvedCopy{
			ClaimName: h, Name: "copy-" + h, VolumeSnapshotClassName: class, StorageClassName: "fast", Immediate: true,
			Size: resource.MustParse("1Gi"),
		})
	}
	f := frozen(t)
	f.copies = map[string]backup.Copy{}
	return f
}

// take adds the VolumeSnapshot of a copy.
func (f *fixture) take(name string, edit ...func(*snapshotv1.VolumeSnapshot)) {
	s := &snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(f.at)}}
	for _, e := range edit {
		e(s)
	}
	have := f.copies[name]
	have.Snapshot = s
	f.copies[name] = have
}

// claim adds the claim of a copy.
func (f *fixture) claim(name string, phase corev1.PersistentVolumeClaimPhase) {
	have := f.copies[name]
	have.Claim = &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(f.at)},
	}
	have.Claim.Status.Phase = phase
	f.copies[name] = have
}

// copy makes and removes the copies of a decision, as the controller and a driver do.
func (f *fixture) copy(d *backup.Decision) {
	for _, c := range d.Copies {
		if c.Snapshot {
			f.take(c.Copy.Name, usable)
		} else {
			f.claim(c.Copy.Name, corev1.ClaimBound)
			have := f.copies[c.Copy.Name]
			have.Made = f.at
			f.copies[c.Copy.Name] = have
		}
	}
	for _, name := range d.Discard {
		delete(f.copies, name)
	}
}

func usable(s *snapshotv1.VolumeSnapshot) {
	s.Status = &snapshotv1.VolumeSnapshotStatus{ReadyToUse: new(true), RestoreSize: new(resource.MustParse("2Gi"))}
}

func asked(d backup.Decision) []string {
	var out []string
	for _, c := range d.Copies {
		kind := "claim"
		if c.Snapshot {
			kind = "snapshot"
		}
		out = append(out, kind+" "+c.Copy.Name)
	}
	return out
}

// A file that changed shortly before a copy may not be in it. So no time may be later than the copy.
func TestTheTimeOfACopyIsNoLaterThanTheCopy(t *testing.T) {
	for name, tc := range map[string]struct {
		class           string
		snapshot, claim bool
		after           time.Duration // since the run began
	}{
		"of a VolumeSnapshot":             {class: "snap", snapshot: true, claim: true, after: time.Minute},
		"of a clone":                      {claim: true, after: time.Hour},
		"whose VolumeSnapshot is missing": {class: "snap", claim: true},
	} {
		t.Run(name, func(t *testing.T) {
			g, f := NewWithT(t), copiedRun(tc.class, "pod-0")
			began := f.at
			f.session.CreationTimestamp = metav1.NewTime(began)
			if f.at = began.Add(time.Minute); tc.snapshot {
				f.take("copy-pod-0")
			}
			if f.at = began.Add(time.Hour); tc.claim {
				f.claim("copy-pod-0", corev1.ClaimBound)
			}
			in := backup.Input{Session: f.session, Copies: f.copies}
			target := &in.Session.Status.Resolved.Targets[0]
			g.Expect(backup.CopiedAt(in, target, &target.Hosts[0])).
				To(Equal(map[string]metav1.Time{"pod-0": metav1.NewTime(began.Add(tc.after))}))
			target.Copies = nil
			g.Expect(backup.CopiedAt(in, target, &target.Hosts[0])).To(BeEmpty(), "the volume itself")
		})
	}
}

func TestMoversBeginWhenTheirCopiesAreThere(t *testing.T) {
	g := NewWithT(t)
	f := copiedRun("snap", "pod-0", "pod-1")
	d := f.step()
	g.Expect(asked(d)).To(Equal([]string{"snapshot copy-pod-0", "snapshot copy-pod-1"}), "all at once")
	g.Expect(d.Create).To(BeEmpty())
	g.Expect(d.After).To(Equal(2*time.Second), "no watch reports when they are ready")

	f.take("copy-pod-0", usable)
	f.take("copy-pod-1")
	d = f.step()
	g.Expect(asked(d)).To(Equal([]string{"claim copy-pod-0"}))
	g.Expect(d.Copies[0].Size.String()).To(Equal("2Gi"), "the size that the VolumeSnapshot needs")
	f.claim("copy-pod-0", corev1.ClaimPending)
	g.Expect(f.step().Create).To(BeEmpty(), "its volume is being made")
	f.claim("copy-pod-0", corev1.ClaimBound)
	d = f.step()
	g.Expect(d.Create).To(HaveLen(1))
	g.Expect(d.Create[0].Host.Name).To(Equal("pod-0"))

	f.take("copy-pod-1", usable)
	f.step()
	f.claim("copy-pod-1", corev1.ClaimBound)
	g.Expect(f.step().Create).To(HaveLen(1))
	g.Expect(asked(f.step())).To(BeEmpty())

	f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Succeeded("pod-0")
	d = f.step()
	g.Expect(d.Discard).To(BeEmpty(), "the target is at work")
	ending := runtest.Succeeded("pod-1")
	ending.Finished, ending.State, ending.Recheck = false, observe.StateRunning, time.Second
	f.jobs[runtest.Job("a", "pod-1", 1)] = ending
	d = f.step()
	g.Expect(d.After).To(Equal(time.Second), "the state of the Job can change by then")
	g.Expect(d.Status.Phase).To(Equal(backupRunning), "a mover that is about to end is not stopped")
	g.Expect(d.Discard).To(BeEmpty())
	f.jobs[runtest.Job("a", "pod-1", 1)] = runtest.Died(v1alpha1.ReasonNodeLost, false)
	g.Expect(f.decide().Status.Phase).To(Equal(backupSucceeded), "a lost pod is not waited for")
	f.jobs[runtest.Job("a", "pod-1", 1)] = runtest.Succeeded("pod-1")
	d = f.decide()
	g.Expect(d.Discard).To(Equal([]string{"copy-pod-0", "copy-pod-1"}))
	g.Expect(d.Delete).To(ConsistOf(runtest.Job("a", "pod-0", 1), runtest.Job("a", "pod-1", 1)),
		"their pods would keep the claims")
	g.Expect(d.Status.Phase).To(Equal(backupSucceeded))
}

func TestACloneNeedsNoSnapshot(t *testing.T) {
	g := NewWithT(t)
	f := copiedRun("", "pod-0")
	f.session.Status.Resolved.Targets[0].Copies[0].Immediate = false
	g.Expect(asked(f.step())).To(Equal([]string{"claim copy-pod-0"}))
	f.claim("copy-pod-0", corev1.ClaimPending)
	g.Expect(f.step().Create).To(HaveLen(1), "it binds to its first consumer")
}

func TestCopiesThatFail(t *testing.T) {
	going := func(s *snapshotv1.VolumeSnapshot) { s.DeletionTimestamp = &metav1.Time{Time: runtest.Now} }
	broken := func(s *snapshotv1.VolumeSnapshot) {
		s.Status = &snapshotv1.VolumeSnapshotStatus{
			Error: &snapshotv1.VolumeSnapshotError{Time: &s.CreationTimestamp, Message: new("pool is full")},
		}
	}
	for name, tt := range map[string]struct {
		there  func(f *fixture)
		after  time.Duration
		reason string
		says   string
	}{
		"a new error": {there: func(f *fixture) { f.take("copy-pod-0", broken) }, after: 59 * time.Second},
		"a lasting error": {
			there: func(f *fixture) { f.take("copy-pod-0", broken) }, after: time.Minute,
			reason: v1alpha1.ReasonVolumeSnapshotFailed, says: "pool is full",
		},
		"a silent driver": {there: func(f *fixture) { f.take("copy-pod-0") }, after: 9 * time.Minute},
		"a driver that stays silent": {
			there: func(f *fixture) { f.take("copy-pod-0") }, after: 10 * time.Minute,
			reason: v1alpha1.ReasonVolumeSnapshotNotReady,
		},
		"a VolumeSnapshot that somebody deleted": {
			there: func(f *fixture) { f.take("copy-pod-0", usable, going) }, reason: v1alpha1.ReasonCopyFailed,
			says: "deleted",
		},
		"a claim that somebody deleted": {
			there: func(f *fixture) {
				f.take("copy-pod-0", usable)
				f.claim("copy-pod-0", corev1.ClaimBound)
				f.copies["copy-pod-0"].Claim.DeletionTimestamp = &metav1.Time{Time: runtest.Now}
			}, reason: v1alpha1.ReasonCopyFailed, says: "deleted",
		},
		"a volume that was lost": {
			there: func(f *fixture) { f.claim("copy-pod-0", corev1.ClaimLost) }, reason: v1alpha1.ReasonCopyFailed,
			says: "lost",
		},
		"a volume that takes a while": {
			there: func(f *fixture) { f.claim("copy-pod-0", corev1.ClaimPending) }, after: 30 * time.Minute,
		},
		"a volume that the driver can't make": {
			there: func(f *fixture) {
				f.claim("copy-pod-0", corev1.ClaimPending)
				f.copies["copy-pod-0"] = backup.Copy{Claim: f.copies["copy-pod-0"].Claim, Trouble: "too small"}
			}, reason: v1alpha1.ReasonCopyFailed, says: "too small",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := copiedRun("snap", "pod-0", "pod-1")
			f.step()
			f.take("copy-pod-1", usable)
			f.claim("copy-pod-1", corev1.ClaimBound)
			tt.there(f)
			f.at = f.at.Add(tt.after)
			d := f.step()
			c := f.component("a", "pod-0")
			if tt.reason == "" {
				g.Expect(c.Phase).To(BeEmpty())
				return
			}
			g.Expect(d.Verify).To(BeTrue(), "the decision must be verified past the cache")
			g.Expect(c.Phase).To(Equal(v1alpha1.SnapshotFailed))
			g.Expect(c.Reason).To(Equal(tt.reason))
			g.Expect(c.Error).To(ContainSubstring(tt.says))
			g.Expect(d.Create).To(HaveLen(1), "the other host is backed up")
			g.Expect(d.Discard).To(BeEmpty(), "a mover still reads its copy")
			f.jobs[runtest.Job("a", "pod-1", 1)] = runtest.Succeeded("pod-1")
			d = f.decide()
			g.Expect(d.Status.Phase).To(Equal(backupFailed))
			g.Expect(d.Discard).To(ContainElement("copy-pod-1"))
		})
	}
}

// A volume that is made only once the mover's pod has a node can still fail then.
func TestAMoverDoesNotWaitForAVolumeThatCantBeMade(t *testing.T) {
	g := NewWithT(t)
	f := copiedRun("", "pod-0")
	f.session.Status.Resolved.Targets[0].Copies[0].Immediate = false
	f.claim("copy-pod-0", corev1.ClaimPending)
	g.Expect(f.step().Create).To(HaveLen(1))
	f.step()
	have := f.copies["copy-pod-0"]
	have.Trouble = "the pool is full"
	f.copies["copy-pod-0"] = have
	f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Running()
	g.Expect(f.step().Status.Phase).To(Equal(backupRunning), "it found the volume")
	f.jobs[runtest.Job("a", "pod-0", 1)] = run.Job{Observation: observe.Observation{State: observe.StateWaiting}}
	d := f.step()
	g.Expect(f.component("a", "pod-0").Reason).To(Equal(v1alpha1.ReasonCopyFailed))
	g.Expect(f.component("a", "pod-0").Error).To(ContainSubstring("the pool is full"))
	g.Expect(d.Delete).To(ConsistOf(runtest.Job("a", "pod-0", 1)))
	g.Expect(d.Discard).To(ConsistOf("copy-pod-0"))
}

// A mover reports to the Snapshot before its Job has ended. What the manager finds out in between still counts.
func TestWhatIsReadOfAnotherVolumeIsNoBackup(t *testing.T) {
	g := NewWithT(t)
	f := copiedRun("", "pod-0", "pod-1")
	f.session.Status.Resolved.Targets[0].Copies[0].Immediate = false
	f.claim("copy-pod-0", corev1.ClaimPending)
	f.claim("copy-pod-1", corev1.ClaimBound)
	g.Expect(f.step().Create).To(HaveLen(2))
	for _, name := range []string{"pod-0", "pod-1"} {
		f.snapshots["snap-a"].Status.Components[name] = v1alpha1.Component{
			Phase: v1alpha1.SnapshotSucceeded, ID: "k" + name,
		}
		f.jobs[runtest.Job("a", name, 1)] = runtest.Running()
	}
	f.claim("copy-pod-0", corev1.ClaimBound)
	have := f.copies["copy-pod-0"]
	have.Wrong = "it was there before"
	f.copies["copy-pod-0"] = have
	f.step()
	g.Expect(f.component("a", "pod-0")).To(
		And(HaveField("Phase", v1alpha1.SnapshotFailed), HaveField("Reason", v1alpha1.ReasonCopyFailed),
			HaveField("Error", ContainSubstring("it was there before"))))
	g.Expect(f.component("a", "pod-1").Phase).To(Equal(v1alpha1.SnapshotSucceeded), "the right copy is a backup")
	for _, name := range []string{"pod-0", "pod-1"} {
		f.jobs[runtest.Job("a", name, 1)] = runtest.Succeeded(name)
	}
	g.Expect(f.decide().Status.Phase).To(Equal(backupFailed))
}

// However a run ends, its copies are deleted before its end is written to the status.
func TestCopiesGoOnEveryWayOut(t *testing.T) {
	for name, end := range map[string]func(f *fixture){
		"its deadline passed": func(f *fixture) { f.at = f.session.Status.BackupDeadline.Time },
		"it was deleted":      func(f *fixture) { f.session.DeletionTimestamp = &metav1.Time{Time: f.at} },
		"it was replaced": func(f *fixture) {
			f.session.Annotations = map[string]string{v1alpha1.AnnotationReplacedBy: "other/" + "1782871200"}
		},
		"its mover failed": func(f *fixture) {
			f.jobs[runtest.Job("a", "pod-0", 1)] = runtest.Failed(v1alpha1.ReasonUnreadable)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := copiedRun("snap", "pod-0")
			f.take("copy-pod-0", usable)
			f.claim("copy-pod-0", corev1.ClaimBound)
			f.step()
			f.jobs[runtest.Job("a", "pod-0", 1)] = run.Job{
				Observation: observe.Observation{State: observe.StateRunning},
			}
			end(f)
			for range 5 {
				d := f.step()
				if d.Status.Phase.Terminal() {
					g.Expect(d.Discard).To(Equal([]string{"copy-pod-0"}))
					return
				}
				g.Expect(d.Discard).To(BeEmpty(), "a mover reads it")
			}
			t.Fatal("the run does not end")
		})
	}
}

// Not those of the run that failed, and not one for two targets, even if an earlier version made one for both.
func TestARetryMakesCopiesOfItsOwn(t *testing.T) {
	g := NewWithT(t)
	f := copiedRun("snap", "pod-0")
	f.step()
	f.session.Status.Resolved.Policy.Digest = "sha256:1"
	f.session.Status.Targets[0].Phase = backupFailed
	other := *f.session.Status.Resolved.Targets[0].DeepCopy()
	other.Name = "b"
	f.session.Status.Resolved.Targets = append(f.session.Status.Resolved.Targets, other)
	f.session.Status.Targets = append(f.session.Status.Targets, v1alpha1.BackupTargetStatus{
		Name: "b", Phase: backupFailed,
	})
	again := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Name: "run-r1", UID: "other"}}
	start := &backup.Start{}
	start.Again(again, f.session, nil)
	g.Expect(start.Targets).To(HaveLen(2))
	name := start.Targets[0].Resolved.Copies[0].Name
	g.Expect(name).NotTo(Equal("copy-pod-0"))
	g.Expect(start.Targets[1].Resolved.Copies[0].Name).NotTo(Equal(name))
	g.Expect(f.session.Status.Resolved.Targets[0].Copies[0].Name).To(
		Equal("copy-pod-0"), "frozen copies must not change")
}

// The API server's clock was a year ahead when it made the objects of a copy. The run waits for them as long as for all
// others, by the manager's clock.
func TestACopyOfTheFutureIsNotAwaitedUntilThen(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		class  string
		limit  time.Duration
		reason string
	}{
		"a VolumeSnapshot": {"snap", backup.SnapshotLimit, v1alpha1.ReasonVolumeSnapshotNotReady},
		"a claim":          {"", backup.ClaimLimit, v1alpha1.ReasonCopyFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, f := NewWithT(t), copiedRun(tt.class, "pod-0")
			f.session.Status.BackupDeadline = nil
			began := f.session.Status.Targets[0].StartTime.Time
			f.at = began.AddDate(1, 0, 0)
			if tt.class != "" {
				f.take("copy-pod-0")
			} else {
				f.claim("copy-pod-0", corev1.ClaimPending)
			}
			f.at = began.Add(tt.limit - time.Second)
			f.step()
			g.Expect(f.component("a", "pod-0").Phase.Terminal()).To(BeFalse())
			f.at = began.Add(tt.limit)
			f.step()
			g.Expect(f.component("a", "pod-0").Reason).To(Equal(tt.reason))
		})
	}
}
