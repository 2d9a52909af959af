package keeper

import (
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

func TestResultOf(t *testing.T) {
	failed := func(reason, message string) task.ComponentResult {
		return task.ComponentResult{Outcome: task.OutcomeFailed, Reason: reason, Error: message}
	}
	reported := func(c task.ComponentResult) *task.Result { return &task.Result{Components: []task.ComponentResult{c}} }
	for name, tt := range map[string]struct {
		o    observe.Observation
		want task.ComponentResult
	}{
		"it is reported": {
			observe.Observation{Result: reported(task.ComponentResult{Name: "1", Reason: "Full", Error: "no room"})},
			task.ComponentResult{Name: "1", Reason: "Full", Error: "no room"},
		},
		"it is reported without a reason": {
			observe.Observation{Result: reported(task.ComponentResult{Name: "1"})},
			task.ComponentResult{Name: "1", Reason: v1alpha1.ReasonFailed, Error: v1alpha1.ReasonFailed},
		},
		"it is reported as in use": {
			observe.Observation{Result: reported(task.ComponentResult{
				Name: "1", Reason: v1alpha1.ReasonInUse, Error: "a restore reads it",
			})},
			task.ComponentResult{Name: "1", Reason: v1alpha1.ReasonFailed, Error: "a restore reads it"},
		},
		"deleted data came back": {
			observe.Observation{Result: reported(task.ComponentResult{
				Name: "1", Reason: v1alpha1.ReasonRemovalPending, Error: "deleted data came back",
			})},
			task.ComponentResult{Name: "1", Reason: v1alpha1.ReasonRemovalPending, Error: "deleted data came back"},
		},
		"held, which only the manager says": {
			observe.Observation{Result: reported(task.ComponentResult{
				Name: "1", Reason: v1alpha1.ReasonRemovalHeld, Error: "held",
			})},
			task.ComponentResult{Name: "1", Reason: v1alpha1.ReasonFailed, Error: "held"},
		},
		"the Job failed as in use": {
			observe.Observation{
				State: observe.StateFailed, Reason: v1alpha1.ReasonInUse, Message: "a restore reads it",
			},
			failed(v1alpha1.ReasonFailed, "a restore reads it"),
		},
		"only another one is reported": {
			observe.Observation{
				State: observe.StateFailed, Reason: "OOMKilled", Message: "it ran out of memory",
				Result: reported(task.ComponentResult{Name: "0"}),
			},
			failed("OOMKilled", "it ran out of memory"),
		},
		"the Job succeeded and reports nothing": {
			observe.Observation{State: observe.StateSucceeded, Reason: "Completed"},
			failed(v1alpha1.ReasonFailed, "the keeper reported no result"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(ResultOf(tt.o, 1)).To(Equal(tt.want))
		})
	}
}

func TestTheEndOfAJob(t *testing.T) {
	g := NewWithT(t)
	now, then := metav1.NewTime(start.Add(time.Millisecond)), metav1.NewTime(start.Add(-time.Hour))
	job := &batchv1.Job{}
	g.Expect(EndOf(job, now)).To(Equal(metav1.NewTime(start)), "a Job that hangs is given up now")
	job.Status.Conditions = []batchv1.JobCondition{
		{Type: batchv1.JobComplete, Status: corev1.ConditionFalse},
		{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, LastTransitionTime: then},
	}
	g.Expect(EndOf(job, now)).To(Equal(then))
}

func TestAttempts(t *testing.T) {
	g := NewWithT(t)
	at := metav1.NewTime(start)
	a := ParseAttempts("")
	for i, job := range []string{"1", "2", "2", "3"} {
		a.Count(job, at, map[string]Ended{"web": {Failed: true}, "db": {Failed: i == 0}})
	}
	g.Expect(a).To(Equal(Attempts{"web": {Count: 3, At: at, Job: "3"}}), "no Job counts twice, and a success forgets")
	text, err := a.Encode()
	g.Expect(err).NotTo(HaveOccurred())
	read := ParseAttempts(text)
	g.Expect(read).To(HaveLen(1))
	g.Expect(read["web"].Count).To(Equal(3))
	for _, text := range []string{"null", "{", "[]"} {
		g.Expect(ParseAttempts(text)).To(BeEmpty())
		g.Expect(ParseAttempts(text)).NotTo(BeNil(), text)
	}
	text, err = Attempts{}.Encode()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(text).To(BeEmpty())
}

func TestReady(t *testing.T) {
	all := []Work{
		{Repository: &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, Wipe: true},
		{Repository: &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "db"}}, Wipe: true},
	}
	for count, wait := range map[int]time.Duration{
		1: time.Minute, 2: 2 * time.Minute, 6: 32 * time.Minute, 7: time.Hour, 100: time.Hour,
	} {
		g := NewWithT(t)
		a := Attempts{"web": {Count: count, At: metav1.NewTime(start)}}
		due, next := a.Ready(all, start.Add(wait-1))
		g.Expect(due).To(HaveLen(1))
		g.Expect(due[0].Repository.Name).To(Equal("db"))
		g.Expect(next).To(Equal(start.Add(wait)))
		due, next = a.Ready(all, start.Add(wait))
		g.Expect(due).To(HaveLen(2))
		g.Expect(next).To(BeZero())
	}
}

// What was done counts, whatever else failed.
func TestSplit(t *testing.T) {
	failed := func(reason string) *task.Step { return &task.Step{Reason: reason, Error: "because"} }
	ok := &task.Step{}
	work := Work{
		Snapshots: make([]*v1alpha1.Snapshot, 2), Maintain: task.MaintainFull, Checks: true,
		Check: make([]task.Checked, 1),
	}
	bad := task.ComponentResult{Outcome: task.OutcomeFailed, Reason: "Unreachable", Error: "no answer"}
	steps := func(r task.ComponentResult, removal, maintenance, check *task.Step) task.ComponentResult {
		r.Steps = task.Steps{Removal: removal, Maintenance: maintenance, Check: check}
		return r
	}
	for name, tt := range map[string]struct {
		work   Work
		result task.ComponentResult
		done   string
		failed []string
	}{
		"all of it": {work, task.ComponentResult{Outcome: task.OutcomeSucceeded}, "removed maintained checked", nil},
		"nothing":   {work, bad, "", []string{"removed Unreachable no answer", "maintained Unreachable no answer"}},
		"the removal": {
			work, steps(bad, ok, failed("AccessDenied"), failed("Cancelled")), "removed",
			[]string{"maintained AccessDenied because", "checked Cancelled because"},
		},
		"the maintenance": {
			work, steps(bad, failed(v1alpha1.ReasonRemovalPending), ok, ok), "maintained checked",
			[]string{"removed RemovalPending because"},
		},
		"without anything to check": {
			Work{Maintain: task.MaintainFull, Checks: true},
			steps(bad, failed("X"), ok, nil), "maintained checked", nil,
		},
		"a wipe": {Work{Wipe: true}, bad, "", []string{"wiped Unreachable no answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			done, undone := tt.work.Split(tt.result)
			g.Expect(parts(done)).To(Equal(tt.done))
			var got []string
			for _, u := range undone {
				got = append(got, parts(u.Work)+" "+u.Reason+" "+u.Message)
			}
			g.Expect(got).To(Equal(tt.failed))
		})
	}
}

func parts(w *Work) string {
	var out []string
	for name, is := range map[string]bool{
		"1 wiped": w.Wipe, "2 removed": len(w.Snapshots) > 0, "3 maintained": w.Maintain != "", "4 checked": w.Checks,
	} {
		if is {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	for i := range out {
		out[i] = out[i][2:]
	}
	return strings.Join(out, " ")
}

func TestTriedCheck(t *testing.T) {
	t.Parallel()
	fails := func(reason string) task.ComponentResult {
		return task.ComponentResult{
			Outcome: task.OutcomeFailed, Steps: task.Steps{Check: &task.Step{Reason: reason}},
		}
	}
	ended := func(reason string) task.ComponentResult {
		return task.ComponentResult{Outcome: task.OutcomeFailed, Reason: reason}
	}
	for name, c := range map[string]struct {
		result    task.ComponentResult
		oomKilled bool
		tried     bool
	}{
		"it is done":                 {fails(""), false, true},
		"there was nothing to check": {task.ComponentResult{Outcome: task.OutcomeSucceeded}, false, true},
		"it took too long":           {fails(v1alpha1.ReasonDeadlineExceeded), false, true},
		"nobody knows why it fails":  {fails(v1alpha1.ReasonFailed), false, true},
		"the storage is gone":        {fails(v1alpha1.ReasonUnreachable), false, false},
		"it was stopped":             {fails(v1alpha1.ReasonCancelled), false, false},
		"it was late": {
			task.ComponentResult{
				Outcome: task.OutcomeFailed,
				Steps:   task.Steps{Check: &task.Step{Reason: v1alpha1.ReasonCancelled, Late: true}},
			}, false, true,
		},
		"it took too much memory":                  {ended(v1alpha1.ReasonOutOfMemory), true, true},
		"it took too much memory, and was evicted": {ended(v1alpha1.ReasonEvicted), true, true},
		"it had too little memory to start":        {ended(v1alpha1.ReasonOutOfMemory), false, false},
		"it was evicted":                           {ended(v1alpha1.ReasonEvicted), false, false},
		"it was not reached":                       {ended(v1alpha1.ReasonDeadlineExceeded), false, false},
	} {
		w := Work{Checks: true, OnlyCheck: true, OOMKilled: c.oomKilled}
		NewWithT(t).Expect(w.TriedCheck(c.result)).To(Equal(c.tried), name)
		w.Checks = false
		NewWithT(t).Expect(w.TriedCheck(c.result)).To(BeFalse(), "no check belongs to it")
	}
	killed := ended(v1alpha1.ReasonOutOfMemory)
	w := Work{Checks: true, Check: make([]task.Checked, 10), OOMKilled: true}
	NewWithT(t).Expect(w.TriedCheck(killed)).To(BeFalse(), "something else can have taken it")
	NewWithT(t).Expect(w.Ended(killed)).To(Equal(Ended{Failed: true, Checked: true, TooMany: 10, Killed: true}),
		"the next one is smaller")
	NewWithT(t).Expect(w.Ended(ended(v1alpha1.ReasonEvicted))).To(Equal(w.Ended(killed)), "whoever evicted it then")
	w.OOMKilled = false
	NewWithT(t).Expect(w.Ended(killed)).To(Equal(Ended{Failed: true, Checked: true}), "it took no memory")
	w.OnlyCheck, w.OOMKilled, w.Maintain = true, true, task.MaintainFull
	NewWithT(t).Expect(w.TriedCheck(killed)).To(BeFalse(), "the maintenance can have taken it")
}

// A check counts as tried only if nothing else can have taken the memory of its keeper.
func TestOnlyCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(t *task.Task)
		want   bool
	}{
		"a check": {func(*task.Task) {}, true},
		"a maintenance": {
			func(t *task.Task) { t.Keep[0].Maintain = task.MaintainFull }, false,
		},
		"a removal": {
			func(t *task.Task) { t.Keep[0].Remove = make([]task.Removed, 1) }, false,
		},
		"a scan":           {func(t *task.Task) { t.Keep[0].Scan = "now" }, false},
		"a wipe":           {func(t *task.Task) { t.Keep[0].Wipe = true }, false},
		"nothing to check": {func(t *task.Task) { t.Keep[0].Check = nil }, false},
		"another Repository": {
			func(t *task.Task) { t.Keep = append(t.Keep, t.Keep[0]) }, false,
		},
	} {
		k := task.Task{Keep: []task.Keep{{Check: make([]task.Checked, 2)}}}
		tt.change(&k)
		NewWithT(t).Expect(OnlyCheck(&k)).To(Equal(tt.want), name)
	}
}
