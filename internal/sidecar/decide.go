package sidecar

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Action is what is to be done about the sidecar of a workload.
type Action string

// The values of Action.
const (
	// Leave everything as it is.
	Leave Action = "Leave"
	// Inject the sidecar, or what it is to be now.
	Inject Action = "Inject"
	// Remove everything that is ours.
	Remove Action = "Remove"
	// Conflict says that a name of ours is taken.
	Conflict Action = "Conflict"
)

// Wanted is what policy wants.
type Wanted struct {
	// Unknown says that a policy can't be understood now: what is there stays, and nothing new comes.
	Unknown bool
	// Settings of the sidecar, nil where none is wanted.
	Settings *Settings
	// Image of the mover of this manager.
	Image string
}

// Record is what was written down when the sidecar was applied last. It is kept with the sidecar's Secret.
type Record struct {
	// Settings, Theirs and Ours are the digests of the settings and of what Find found then.
	Settings string `json:"settings,omitempty"`
	Theirs   string `json:"theirs,omitempty"`
	Ours     string `json:"ours,omitempty"`
	// Image that was applied. What the API server made of it may be another one.
	Image string `json:"image,omitempty"`
	// RolledOut says that all pods have got the sidecar with these settings.
	RolledOut bool `json:"rolledOut,omitempty"`
	// Since is when the rollout was seen first, until it is done.
	Since *metav1.Time `json:"since,omitempty"`
	// Restored is when it was applied again because somebody had taken it away or changed it, within restoredWithin, the latest last.
	Restored []metav1.Time `json:"restored,omitempty"`
}

// What somebody takes away again and again has another master: each time the pods are replaced twice.
const (
	maxRestored    = 5
	restoredWithin = 24 * time.Hour
)

// Restore notes that the sidecar is applied again because somebody had taken it away or changed it. It is false where that was done too
// often already: until is when it may be tried again.
func (r *Record) Restore(now time.Time) (until time.Time, ok bool) {
	r.Restored = slices.DeleteFunc(slices.Clone(r.Restored), func(t metav1.Time) bool { return now.Sub(t.Time) >= restoredWithin })
	if len(r.Restored) >= maxRestored {
		return r.Restored[0].Add(restoredWithin), false
	}
	r.Restored = append(r.Restored, metav1.NewTime(now).Rfc3339Copy())
	return time.Time{}, true
}

// Decision is an action, with the image to inject.
type Decision struct {
	Action Action
	Image  string
	// Again says that the sidecar is injected because somebody took away or changed what was there.
	Again bool
}

// Decide says what is to be done. The image that a sidecar has stays until something else begins a rollout: policy, or whoever
// owns the workload. The image of this manager comes along with that one.
func Decide(w Wanted, f Found, r Record) Decision {
	switch {
	case w.Unknown:
		return Decision{Action: Leave}
	case w.Settings == nil && f.Anything:
		return Decision{Action: Remove}
	case w.Settings == nil:
		return Decision{Action: Leave}
	case f.Foreign != "":
		return Decision{Action: Conflict}
	case f.Image == "", r.Settings != "" && r.Settings != w.Settings.Digest():
		return Decision{Action: Inject, Image: w.Image, Again: r.Settings == w.Settings.Digest()}
	case r.Settings == "": // what was written down is lost
		return Decision{Action: Inject, Image: f.Image}
	case r.Image != w.Image && r.Theirs != f.Theirs && f.Rolling:
		return Decision{Action: Inject, Image: w.Image}
	case r.Ours != f.Ours: // somebody changed it
		return Decision{Action: Inject, Image: r.Image, Again: true}
	}
	return Decision{Action: Leave}
}
