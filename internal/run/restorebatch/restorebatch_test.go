package restorebatch

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
)

// restoreBatchOf returns a RestoreBatch of these targets that was frozen at second 0 and has an hour.
func restoreBatchOf(targets ...string) *v1alpha1.RestoreBatch {
	start, deadline := metav1.NewTime(time.Unix(0, 0)), metav1.NewTime(time.Unix(3600, 0))
	b := &v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "back", UID: "1", Generation: 1}}
	b.Spec.DataSource = v1alpha1.RestoreBatchDataSource{
		BackupBatch: "shop", BackupSession: v1alpha1.LatestBackupSession,
	}
	b.Status = v1alpha1.RestoreBatchStatus{
		Phase: v1alpha1.RestoreSessionRunning, StartTime: &start, RestoreDeadline: &deadline, RestorePoint: "run",
		Resolved: &v1alpha1.ResolvedRestoreBatch{},
	}
	for _, name := range targets {
		b.Spec.Targets = append(b.Spec.Targets, v1alpha1.RestoreBatchTarget{Name: name})
		b.Status.Targets = append(b.Status.Targets, v1alpha1.RestoreTargetStatus{
			Name: name, Phase: v1alpha1.RestoreSessionPending, Snapshot: name, RestorePoint: "run",
		})
		b.Status.Resolved.Targets = append(b.Status.Resolved.Targets, v1alpha1.ResolvedRestoreTarget{
			Name: name, RestoreSession: "back-" + name,
		})
	}
	return b
}

func restoredChild(name string, phase v1alpha1.RestoreSessionPhase, reason string) *v1alpha1.RestoreSession {
	s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Name: name}}
	s.Status.Phase, s.Status.Reason = phase, reason
	s.Status.Resolved = &v1alpha1.ResolvedRestore{}
	s.Status.Conditions = []metav1.Condition{{Type: "Ready", Message: "says why"}}
	return s
}

func TestHowARestoreBatchEnds(t *testing.T) {
	const good, bad, skipped, unknown = v1alpha1.RestoreSessionSucceeded, v1alpha1.RestoreSessionFailed,
		v1alpha1.RestoreSessionSkipped, v1alpha1.RestoreSessionUnknown
	for name, tt := range map[string]struct {
		web, db v1alpha1.RestoreSessionPhase
		edit    func(*v1alpha1.RestoreBatch)
		want    string
		partial bool
		hooked  bool // a postRestore hook failed
		says    string
		disowns bool
	}{
		"all restored": {web: good, db: good, want: "Succeeded/Succeeded"},
		"one failed":   {web: good, db: bad, want: "Failed/TargetsFailed", partial: true},
		"one was invalid": {
			web: good, db: v1alpha1.RestoreSessionInvalid, want: "Failed/TargetsFailed", partial: true,
		},
		"all failed": {web: bad, db: bad, want: "Failed/TargetsFailed"},
		"one could not be verified": {
			web: good, db: unknown, want: "Unknown/TargetsFailed", partial: true,
		},
		"one failed, another could not be verified": {web: bad, db: unknown, want: "Failed/TargetsFailed"},
		"all were filled before":                    {web: skipped, db: skipped, want: "Skipped/AlreadyRestored"},
		"one was filled before, perhaps from another point": {
			web: good, db: skipped, want: "Failed/MixedRestorePoints", partial: true, disowns: true,
			says: "restored web from the restore point of BackupSession run; left as an identical RestoreBatch has " +
				"filled it before, perhaps from another restore point: db. Nobody has looked at what is there now. " +
				"If all of it fits together, nothing more has to be restored. To restore all from one restore " +
				"point, create a RestoreBatch of another name that confirms the targets",
		},
		"one was filled before, from the same point": {
			web: good, db: skipped, edit: func(b *v1alpha1.RestoreBatch) { b.Spec.DataSource.BackupSession = "run" },
			want: "Failed/MixedRestorePoints", partial: true, disowns: true,
			says: "left as an identical RestoreBatch has filled it before: db. Nobody has looked",
		},
		"one was filled before, and a mix will do": {
			web: good, db: skipped, edit: func(b *v1alpha1.RestoreBatch) { b.Spec.DataSource.Mixed = true },
			want: "Succeeded/Succeeded",
			says: "restored 1 target of BackupBatch shop from the restore point of BackupSession run; left as an " +
				"identical RestoreBatch has filled it before, perhaps from another restore point: db. Nobody has " +
				"looked at what is there now",
		},
		"one was filled before, another could not be verified": {
			web: unknown, db: skipped, want: "Unknown/TargetsFailed",
			says: "all was written into web, but not all could be verified: target web: Why: says why; left as",
		},
		"a postRestore hook failed": {
			web: good, db: good, hooked: true, want: "Failed/FailedToExecutePostRestoreHooks", disowns: true,
		},
		"a postRestore hook failed, and a target": {
			web: good, db: bad, hooked: true, want: "Failed/TargetsFailed", partial: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := restoreBatchOf("web", "db")
			if tt.edit != nil {
				tt.edit(b)
			}
			if tt.hooked {
				b.Status.Resolved.Hooks = &v1alpha1.ResolvedHooks{Post: []v1alpha1.ResolvedHook{{Name: "h"}}}
				b.Status.Hooks = &v1alpha1.HookStatuses{
					PostHooks: []v1alpha1.HookStatus{{Name: "h", Phase: v1alpha1.HookFailed, Attempts: 1}},
				}
			}
			d := Next(Input{
				Now: time.Unix(60, 0), Batch: b,
				Children: map[string]*v1alpha1.RestoreSession{
					"back-web": restoredChild("back-web", tt.web, "Why"),
					"back-db":  restoredChild("back-db", tt.db, "Why"),
				},
			})
			g.Expect(string(d.Status.Phase) + "/" + d.Status.Reason).To(Equal(tt.want))
			g.Expect(d.Disown).To(Equal(tt.disowns))
			g.Expect(d.Event.Message).To(ContainSubstring(tt.says))
			g.Expect(d.Status.Duration).To(Equal("1m0s"))
			for _, t := range d.Status.Targets { // what filled a target that was skipped is not known
				g.Expect(t.Snapshot == "").To(Equal(t.Phase == skipped))
				g.Expect(t.RestorePoint == "").To(Equal(t.Phase == skipped))
			}
			g.Expect(d.Status.RestorePoint == "").To(Equal(tt.web == skipped || tt.db == skipped))
			g.Expect(d.Status.Targets).To(HaveEach(HaveField("Message", "says why")))
			partial := ContainElement(And(HaveField("Type", "Partial"), HaveField("Status", metav1.ConditionTrue)))
			if !tt.partial {
				partial = Not(partial)
			}
			g.Expect(d.Status.Conditions).To(partial)
			again := *b
			again.Status = d.Status
			g.Expect(Next(Input{Now: time.Unix(9999, 0), Batch: &again}).Status).To(
				Equal(d.Status), "it ends once")
		})
	}
}

func TestNextOfARestoreBatch(t *testing.T) {
	t.Run("a RestoreSession missing in the cache is made again, within maxParallel", func(t *testing.T) {
		g := NewWithT(t)
		b := restoreBatchOf("web", "uploads", "db")
		b.Spec.MaxParallel = new(int32(2))
		d := Next(Input{
			Now: time.Unix(60, 0), Batch: b,
			Children: map[string]*v1alpha1.RestoreSession{
				"back-db": restoredChild("back-db", v1alpha1.RestoreSessionRunning, "Running"),
			},
		})
		g.Expect(d.Create).To(Equal([]int{0}), "targets at work count")
		g.Expect(d.Status.Targets[2].RestoreSession).To(Equal("back-db"))
	})
	t.Run("a missing RestoreSession is verified past the cache", func(t *testing.T) {
		g := NewWithT(t)
		b := restoreBatchOf("web")
		b.Status.Targets[0].RestoreSession = "back-web"
		d := Next(Input{Now: time.Unix(60, 0), Batch: b})
		g.Expect(d.Verify).To(BeTrue())
		g.Expect(d.Create).To(BeEmpty())
		g.Expect(d.Status.Targets[0].Reason).To(Equal(v1alpha1.ReasonCancelled))
	})
	t.Run("a RestoreSession that does not end is ended after the deadline", func(t *testing.T) {
		g := NewWithT(t)
		b := restoreBatchOf("web")
		running := map[string]*v1alpha1.RestoreSession{
			"back-web": restoredChild("back-web", v1alpha1.RestoreSessionRunning, "Running"),
		}
		d := Next(Input{Now: time.Unix(3600, 0), Batch: b, Children: running})
		g.Expect(d.Delete).To(BeEmpty(), "it can still report its own deadline")
		g.Expect(d.After).To(Equal(childGrace))
		d = Next(Input{Now: time.Unix(3661, 0), Batch: b, Children: running})
		g.Expect(d.Delete).To(Equal([]string{"back-web"}))
		b.Status = d.Status
		d = Next(Input{Now: time.Unix(3670, 0), Batch: b})
		g.Expect(d.Status.Reason).To(Equal(v1alpha1.ReasonDeadlineExceeded))
	})
	t.Run("a refused RestoreSession fails its target", func(t *testing.T) {
		g := NewWithT(t)
		d := Next(Input{
			Now: time.Unix(60, 0), Batch: restoreBatchOf("web"),
			Refused: map[string]*v1alpha1.ResolvedError{
				"web": {Reason: v1alpha1.ReasonNameConflict, Message: "there is one"},
			},
		})
		g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
		g.Expect(d.Status.Targets[0].Reason).To(Equal(v1alpha1.ReasonNameConflict))
	})
}

func TestARestoreBatchOfAClockThatWasAheadStillEnds(t *testing.T) {
	g := NewWithT(t)
	b := restoreBatchOf("web")
	b.Status.Resolved.Timeout = &metav1.Duration{Duration: time.Hour}
	d := Next(Input{Now: time.Unix(0, 0).AddDate(-1, 0, 0), Batch: b})
	g.Expect(d.Status.RestoreDeadline.Time).To(BeTemporally("==", time.Unix(3600, 0).AddDate(-1, 0, 0)))
}

func TestARestoreBatchWithoutATimeoutIsNeverTooLate(t *testing.T) {
	g := NewWithT(t)
	b := restoreBatchOf("web", "db")
	b.Status.RestoreDeadline = nil
	b.Spec.Targets[1].RestoreTimeout = &metav1.Duration{Duration: time.Minute}
	year := time.Unix(0, 0).AddDate(1, 0, 0)
	g.Expect(NewRestoreSession(b, 0, year).Spec.RestoreTimeout).To(BeNil())
	g.Expect(NewRestoreSession(b, 1, year).Spec.RestoreTimeout.Duration).To(Equal(time.Minute))
	d := Next(Input{Now: year, Batch: b, Children: map[string]*v1alpha1.RestoreSession{
		"back-web": restoredChild("back-web", v1alpha1.RestoreSessionRunning, v1alpha1.ReasonRunning),
	}})
	g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning))
	g.Expect(d.Delete).To(BeEmpty())
	g.Expect(d.Create).To(Equal([]int{1}))
}

func TestWhatATargetSaysGoesIntoItsRestoreSession(t *testing.T) {
	g := NewWithT(t)
	b := restoreBatchOf("web")
	b.Spec.Targets[0].Executor, b.Spec.Targets[0].Confirm = v1alpha1.ExecutorSidecar, "uid"
	spec := NewRestoreSession(b, 0, time.Unix(0, 0)).Spec
	g.Expect(spec.Executor).To(Equal(v1alpha1.ExecutorSidecar))
	g.Expect(spec.Confirm).To(Equal("uid"))
}

func TestATargetOfARestoreBatchIsNotBackedUp(t *testing.T) {
	g := NewWithT(t)
	app := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: "Deployment", Name: "web"}
	b := restoreBatchOf("web")
	b.Status.Resolved.Targets[0].Target = &app
	here := app
	here.Namespace = "shop"
	g.Expect(restore.BatchRestoring([]v1alpha1.RestoreBatch{*b}, here)).To(HaveField("Name", "back"))
	here.Name = "other"
	g.Expect(restore.BatchRestoring([]v1alpha1.RestoreBatch{*b}, here)).To(BeNil())
	b.Status.Phase = v1alpha1.RestoreSessionFailed
	g.Expect(restore.BatchRestoring([]v1alpha1.RestoreBatch{*b}, app)).To(BeNil(), "it has ended")
}

// The failures of very many targets fit into one object. Otherwise the end of the batch could never be written.
func TestTheFailuresOfManyRestoredTargetsFitIntoOneObject(t *testing.T) {
	g := NewWithT(t)
	var names []string
	for i := range 500 {
		names = append(names, fmt.Sprintf("target-%04d", i))
	}
	b := restoreBatchOf(names...)
	children := map[string]*v1alpha1.RestoreSession{}
	for _, name := range names {
		child := restoredChild("back-"+name, v1alpha1.RestoreSessionFailed, "Why")
		child.Status.Conditions[0].Message = strings.Repeat("x", 2048)
		children["back-"+name] = child
	}
	d := Next(Input{Now: time.Unix(60, 0), Batch: b, Children: children})
	g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
	raw, err := json.Marshal(d.Status)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(raw)).To(BeNumerically("<", 400<<10))
}

// Only the Snapshot can name the target: the batch must not find out in the middle that a database has no files.
func TestDatabaseMistakes(t *testing.T) {
	database := v1alpha1.ResolvedRestoreTarget{Target: &v1alpha1.TypedObjectReference{Kind: "Service", Name: "db"}}
	volume := v1alpha1.ResolvedRestoreTarget{
		Target: &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data"},
	}
	b := restoreBatchOf("one")
	g := NewWithT(t)
	g.Expect(DatabaseMistakes(b, []v1alpha1.ResolvedRestoreTarget{database})).To(BeNil())
	b.Spec.Targets[0].DeleteExtraFiles = true
	g.Expect(DatabaseMistakes(b, []v1alpha1.ResolvedRestoreTarget{volume})).To(BeNil())
	refusal := DatabaseMistakes(b, []v1alpha1.ResolvedRestoreTarget{database})
	g.Expect(refusal).NotTo(BeNil())
	g.Expect(refusal.Message).To(ContainSubstring("spec.targets[0]"))
}

func TestARefusedRestoreSessionHoldsUpOnlyItsTarget(t *testing.T) {
	g := NewWithT(t)
	b, at := restoreBatchOf("web", "db"), time.Unix(60, 0)
	refused := map[string]*v1alpha1.ResolvedError{
		"web": {Reason: v1alpha1.ReasonCreationRefused, Message: "exceeded quota"},
	}
	step := func() Decision {
		d := Next(Input{
			Now: at, Batch: b, Refused: refused,
			Children: map[string]*v1alpha1.RestoreSession{
				"back-db": restoredChild("back-db", v1alpha1.RestoreSessionSucceeded, "Succeeded"),
			},
		})
		b.Status = d.Status
		return d
	}
	d := step()
	g.Expect(d.Status.Targets[0]).To(And(HaveField("Phase", v1alpha1.RestoreSessionPending),
		HaveField("Message", "exceeded quota")))
	g.Expect(d.Status.Targets[1].Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
	g.Expect(d.Create).To(BeEmpty())
	g.Expect(d.Again).To(Equal(5 * time.Second))
	g.Expect(d.Event.Reason).To(Equal(v1alpha1.ReasonCreationRefused))
	at = at.Add(run.WaitForRefused - time.Second)
	d = step()
	g.Expect(d.Event).To(BeNil())
	g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionRunning))
	at = at.Add(time.Second)
	d = step()
	g.Expect(d.Status.Phase).To(Equal(v1alpha1.RestoreSessionFailed))
	g.Expect(d.Status.Targets[0].Reason).To(Equal(v1alpha1.ReasonCreationRefused))
	g.Expect(d.Status.Conditions).NotTo(ContainElement(HaveField("Type", v1alpha1.ConditionCreationRefused)))
}

// A webhook that is down for longer costs only the targets whose turn it is.
func TestEachRefusedTargetHasItsOwnTime(t *testing.T) {
	g := NewWithT(t)
	b, at := restoreBatchOf("web", "db", "log"), time.Unix(60, 0)
	b.Spec.ExecutionOrder = v1alpha1.ExecutionSequential
	refusal := &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonCreationRefused, Message: "no answer"}
	children := map[string]*v1alpha1.RestoreSession{}
	refuses := true
	step := func() []string { // as the controller takes it
		in := Input{Now: at, Batch: b, Refused: map[string]*v1alpha1.ResolvedError{}, Children: children}
		d := Next(in)
		for refuses && len(d.Create) > 0 {
			for _, i := range d.Create {
				in.Refused[b.Spec.Targets[i].Name] = refusal
			}
			d = Next(in)
		}
		for _, i := range d.Create {
			name := b.Status.Resolved.Targets[i].RestoreSession
			children[name] = restoredChild(name, v1alpha1.RestoreSessionRunning, "Running")
		}
		b.Status = d.Status
		var out []string
		for _, s := range b.Status.Targets {
			out = append(out, string(s.Phase)+"/"+s.Reason)
		}
		return out
	}
	const failed, waits, pending = "Failed/CreationRefused", "Pending/CreationRefused", "Pending/"
	g.Expect(step()).To(Equal([]string{waits, pending, pending}))
	at = at.Add(run.WaitForRefused)
	g.Expect(step()).To(Equal([]string{failed, waits, pending}), "the turn of the second begins")
	at = at.Add(run.WaitForRefused - time.Second)
	g.Expect(step()).To(Equal([]string{failed, waits, pending}), "it has all of its time")
	refuses = false
	step()
	g.Expect(step()).To(Equal([]string{failed, "Running/Running", pending}))

	// The last one gets its turn when the second has ended. Only that tells since when it waits.
	refuses = true
	at = at.Add(30 * time.Minute)
	children["back-db"].Status.Phase = v1alpha1.RestoreSessionSucceeded
	children["back-db"].Status.CompletionTime = &metav1.Time{Time: at}
	step()
	g.Expect(step()[2]).To(Equal(waits))
	at = at.Add(run.WaitForRefused - time.Second)
	g.Expect(step()[2]).To(Equal(waits))
	at = at.Add(time.Second)
	g.Expect(step()[2]).To(Equal(failed))
}

// A target whose turn begins while another one is refused has its own time, too.
func TestARefusedTargetThatComesLater(t *testing.T) {
	g := NewWithT(t)
	b, at := restoreBatchOf("web", "db", "log"), time.Unix(60, 0)
	b.Spec.MaxParallel = new(int32(2))
	refusal := &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonCreationRefused, Message: "no answer"}
	refused := map[string]*v1alpha1.ResolvedError{"web": refusal}
	db := restoredChild("back-db", v1alpha1.RestoreSessionRunning, "Running")
	step := func() []v1alpha1.RestoreTargetStatus {
		b.Status = Next(Input{
			Now: at, Batch: b, Refused: refused, Children: map[string]*v1alpha1.RestoreSession{"back-db": db},
		}).Status
		return b.Status.Targets
	}
	step()
	at = at.Add(4 * time.Minute)
	db.Status.Phase, db.Status.CompletionTime = v1alpha1.RestoreSessionSucceeded, &metav1.Time{Time: at}
	refused["log"] = refusal
	step()
	at = at.Add(4 * time.Minute)
	g.Expect(step()[2].Phase).To(Equal(v1alpha1.RestoreSessionPending))
	at = at.Add(time.Minute)
	g.Expect(step()[2].Phase).To(Equal(v1alpha1.RestoreSessionFailed))
}
