package sidecar

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
)

// Wanted is what policy asks for.
type Wanted struct {
	// Unknown reports that a policy cannot be understood now: what exists stays, and nothing new comes.
	Unknown bool
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
		func(t metav1.Time) bool { return now.Sub(t.Time) >= restoredWithin })
	if len(r.Restored) >= maxRestored {
		return r.Restored[0].Add(restoredWithin), false
	}
	r.Restored = append(r.Restored, metav1.NewTime(now).Rfc3339Copy())
	return time.Time{}, true
}

// Decision is an action and the image to inject.
type Decision struct {
	Action Action
	Image  string
	// Again reports that the sidecar is injected because somebody removed or changed it.
	Again bool
}

// Decide returns what to do. A sidecar keeps its image until something else begins a rollout: policy, or the owner of
// the workload. That rollout then brings the image of this manager.
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
	case r.Settings == "": // The record is lost.
		return Decision{Action: Inject, Image: f.Image}
	case r.Image != w.Image && r.Theirs != f.Theirs && f.Rolling:
		return Decision{Action: Inject, Image: w.Image}
	case r.Ours != f.Ours: // Somebody changed the sidecar.
		return Decision{Action: Inject, Image: r.Image, Again: true}
	}
	return Decision{Action: Leave}
}
