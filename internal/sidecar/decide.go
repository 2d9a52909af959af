package sidecar

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Action is what the manager does with the sidecar of a workload.
type Action string

// The values of Action.
const (
	// Leave everything as it is.
	Leave Action = "Leave"
	// Inject the sidecar, or update it.
	Inject Action = "Inject"
	// Remove everything that Cairn added.
	Remove Action = "Remove"
	// Conflict reports that another container or volume has a name of ours.
	Conflict Action = "Conflict"
	// Forget the sidecar: no policy asks for it and the workload has none, so its Secret must go.
	Forget Action = "Forget"
	// AwaitSecret until a Secret is gone that has the name of the sidecar's Secret.
	AwaitSecret Action = "AwaitSecret"
)

// Wanted is what policy asks for.
type Wanted struct {
	// Unknown reports that a policy cannot be understood now: what exists stays, and nothing new comes.
	Unknown bool
	// Unclear names the BackupConfiguration that cannot be understood now, or is empty.
	Unclear string
	// Settings of the sidecar; nil if none is wanted.
	Settings *Settings
	// Image of this manager's mover.
	Image string
}

// Record describes the sidecar that was last applied. It is kept with the sidecar's Secret.
type Record struct {
	// Settings, Theirs and Ours are digests of the settings and of what Find found then.
	Settings string `json:"settings,omitempty"`
	Theirs   string `json:"theirs,omitempty"`
	Ours     string `json:"ours,omitempty"`
	// Image that was applied. The API server can have changed it in the workload.
	Image string `json:"image,omitempty"`
	// RolledOut reports that all pods have the sidecar with these settings.
	RolledOut bool `json:"rolledOut,omitempty"`
	// Since is when the current rollout was first seen; nil when there is none.
	Since *metav1.Time `json:"since,omitempty"`
	// Restored lists when the sidecar was applied again after somebody had removed or changed it, within
	// restoredWithin, oldest first.
	Restored []metav1.Time `json:"restored,omitempty"`
}

// A sidecar that somebody removes again and again has another master, and each removal replaces the pods twice.
const (
	maxRestored    = 5
	restoredWithin = 24 * time.Hour
)

// Restore notes that the sidecar is applied again after somebody removed or changed it. If that happened too often, it
// returns false and the time until which it must not be applied.
func (r *Record) Restore(now time.Time) (until time.Time, ok bool) {
	r.Restored = slices.DeleteFunc(slices.Clone(r.Restored),
		func(t metav1.Time) bool { return now.Sub(t.Time).Abs() >= restoredWithin }) // a clock can have been ahead
	if len(r.Restored) >= maxRestored {
		return r.Restored[0].Add(restoredWithin), false
	}
	r.Restored = append(r.Restored, metav1.NewTime(now).Rfc3339Copy())
	return time.Time{}, true
}

// Input is everything that the next step for the sidecar of a workload depends on.
type Input struct {
	// Now is the time of the decision.
	Now time.Time
	// Workload names the workload in messages.
	Workload string
	// Wanted is what policy asks for. Asked reports that a policy asks for a sidecar, even if that is impossible now.
	Wanted Wanted
	Asked  bool
	// Found describes the sidecar that the workload has.
	Found Found
	// State is what the manager recorded about the sidecar, with the policies of now. It can already hold a reason why
	// the sidecar cannot be used.
	State State
	// Restores are the RestoreSessions that have the sidecar's label. They count only while the workload has a sidecar.
	Restores []v1alpha1.RestoreSession
	// SecretTaken reports that a Secret that is not the sidecar's has its name.
	SecretTaken bool
}

// Decision is the next step for the sidecar of a workload.
type Decision struct {
	Action Action
	// Image to inject.
	Image string
	// State is what the manager must record. Its reason explains why the sidecar cannot be used, or not yet.
	State State
	// Held reports that the sidecar and its keys stay as they are, because it restores.
	Held bool
	// After is when to look again; 0 means never.
	After time.Duration
}

// RefusedInterval is the interval at which a sidecar is tried again that needs a change of a Role, a Secret or another
// writer: none of them is watched.
const RefusedInterval = time.Minute

// Decide returns the next step. A sidecar keeps its image until something else begins a rollout: policy, or the owner
// of the workload. That rollout then brings the image of this manager.
func Decide(in Input) Decision {
	d := Decision{State: in.State}
	if in.Asked && in.Wanted.Unclear != "" && in.Found.Image == "" {
		d.State.Refuse(v1alpha1.ReasonSidecarNotPossible,
			"the sidecar of %s waits for BackupConfiguration %s, which can share it but is not ready", in.Workload,
			in.Wanted.Unclear)
	}
	var again bool
	d.Action, d.Image, again = choose(in.Wanted, in.Found, in.State.Record)
	d.hold(in)
	switch {
	case d.Action == Remove:
		return d
	case !in.Asked && !in.Found.Anything:
		d.Action = Forget
		return d
	case in.SecretTaken:
		d.Action = AwaitSecret
		return d
	}
	switch d.Action {
	case Conflict:
		d.State.Refuse(v1alpha1.ReasonNameConflict, "%s has a %s of its own: give it another name, or set executor Job",
			in.Workload, in.Found.Foreign)
		d.After = RefusedInterval
	case Inject:
		if again {
			d.restore(in)
		}
	case Leave:
		if in.State.Image == in.Wanted.Image || !in.Found.Rolling {
			d.State.Theirs = in.Found.Theirs // changes that were rolled out already are no reason for another rollout
		}
	}
	return d
}

// choose returns what to do with the sidecar. again reports that somebody removed or changed it.
func choose(w Wanted, f Found, r Record) (action Action, image string, again bool) {
	switch {
	case w.Unknown:
		return Leave, "", false
	case w.Settings == nil && f.Anything:
		return Remove, "", false
	case w.Settings == nil:
		return Leave, "", false
	case f.Foreign != "":
		return Conflict, "", false
	case f.Image == "", r.Settings != "" && r.Settings != w.Settings.Digest():
		return Inject, w.Image, r.Settings == w.Settings.Digest()
	case r.Settings == "": // The record is lost.
		return Inject, f.Image, false
	case r.Image != w.Image && r.Theirs != f.Theirs && f.Rolling:
		return Inject, w.Image, false
	case r.Ours != f.Ours: // Somebody changed the sidecar.
		return Inject, r.Image, true
	}
	return Leave, "", false
}

// hold leaves the sidecar and its keys as they are while it restores: a change would replace the pods, and a restore
// that nobody continues leaves volumes half-written. Restores have a deadline; a backup simply begins again. Of several
// restores it names the first by name: the lists of a cache have no order.
func (d *Decision) hold(in Input) {
	if in.Found.Image == "" || d.Action != Inject && d.Action != Remove {
		return
	}
	first := ""
	for i := range in.Restores {
		if name := in.Restores[i].Name; (first == "" || name < first) && restores(&in.Restores[i]) {
			first = name
		}
	}
	if first == "" {
		return
	}
	d.State.Refuse(v1alpha1.ReasonSidecarRolloutInProgress,
		"the sidecar of %s changes once RestoreSession %s has ended", in.Workload, first)
	d.Action, d.Image, d.Held, d.After = Leave, "", true, rolloutInterval
}

// restores reports whether the sidecar of a pod works on a restore.
func restores(s *v1alpha1.RestoreSession) bool {
	work, err := Decode(s.Annotations[v1alpha1.AnnotationSidecarTask])
	return err == nil && !v1alpha1.HasRecordAnnotation(s.Annotations) &&
		slices.ContainsFunc(work.Assignments, func(a Assignment) bool { return a.PodUID != "" })
}

// restore notes that the sidecar comes back after somebody removed or changed it, and leaves the workload alone if that
// happens again and again.
func (d *Decision) restore(in Input) {
	until, ok := d.State.Restore(in.Now)
	if ok {
		return
	}
	d.Action, d.Image, d.After = Leave, "", until.Sub(in.Now)
	d.State.Refuse(v1alpha1.ReasonSidecarNotPossible,
		"some other writer removes or changes the sidecar of %s each time that Cairn adds it: make that writer "+
			"apply only "+
			"its own fields (server-side apply), or set executor Job",
		in.Workload)
}
