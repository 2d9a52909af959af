package sidecar

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/internal/task"
)

// Version of the Work's JSON. A sidecar ignores Work of another version.
const Version = 1

// MaxWorkBytes bounds the Work's JSON. All annotations of an object share 256 KiB, among them
// v1alpha1.AnnotationMovers.
const MaxWorkBytes = 128 << 10

// ErrTooLarge means that the work has more pods or volumes than fit into an annotation.
var ErrTooLarge = errors.New("the work of the sidecars does not fit into an annotation")

// Work is what sidecars do for one Snapshot or RestoreSession. It holds no credential.
type Work struct {
	// Version of this JSON.
	Version int `json:"version"`
	// Task without its components, which are in Assignments.
	Task task.Task `json:"task"`
	// Args of the mover's subcommand for Task.Kind, as in a Job.
	Args []string `json:"args,omitempty"`
	// Keys of the repository in the sidecar's Secret, and the version of them that the work needs.
	Keys        RepositoryKeys `json:"keys"`
	KeysVersion string         `json:"keysVersion,omitempty"`
	// Assignments, one for each host, ordered by the host's name.
	Assignments []Assignment `json:"assignments,omitempty"`
}

// Assignment is the work of one pod's sidecar.
type Assignment struct {
	// Host of the target, as in status.resolved.
	Host string `json:"host"`
	// Attempt is 1 or 2 for a backup, and the attempt of the RestoreSession for a restore.
	Attempt int `json:"attempt"`
	// Since is when the search for a pod began.
	Since metav1.Time `json:"since"`
	// Pod and PodUID identify the sidecar that does the work; empty if none was found yet.
	Pod    string    `json:"pod,omitempty"`
	PodUID types.UID `json:"podUID,omitempty"`
	// Given is when the pod was chosen.
	Given *metav1.Time `json:"given,omitempty"`
	// Within bounds the work, counted from when the sidecar begins; 0 means no bound. Then nobody waits for the work
	// any more, and it ends without a report if the manager could not stop the sidecar. It is not a time of day because
	// the clocks of manager and node can differ.
	Within metav1.Duration `json:"within,omitzero"`
	// Idle is when the pod's sidecar was last seen busy with other work first.
	Idle *metav1.Time `json:"idle,omitempty"`
	// Restarts is the restart count of the sidecar's container when the pod was chosen.
	Restarts int32 `json:"restarts,omitempty"`
	// Stop asks the sidecar to stop and to report unfinished components as Cancelled.
	Stop bool `json:"stop,omitempty"`
	// Stopped is when the manager asked for that.
	Stopped *metav1.Time `json:"stopped,omitempty"`
	// Components in the order of the work.
	Components []Component `json:"components"`
}

// AskToStop asks the sidecar to stop, and keeps when that was asked first.
func (a *Assignment) AskToStop(now time.Time) {
	a.Stop = true
	if a.Stopped == nil {
		a.Stopped = new(metav1.NewTime(now).Rfc3339Copy())
	}
}

// Component is a component of a Task and the volume that has it.
type Component struct {
	task.Component `json:",inline"`
	// Volume of the pod, by its name in the pod's spec.
	Volume string `json:"volume"`
}

// Encode returns the Work's JSON. It fails with ErrTooLarge if the JSON does not fit into an annotation.
func Encode(w Work) (string, error) {
	w.Version, w.Task.Version, w.Task.Components = Version, task.Version, nil
	slices.SortFunc(w.Assignments, func(a, b Assignment) int {
		switch {
		case a.Host < b.Host:
			return -1
		case a.Host > b.Host:
			return 1
		default:
			return 0
		}
	})
	b, err := json.Marshal(w)
	if err != nil {
		return "", fmt.Errorf("encode work: %w", err)
	}
	if len(b) > MaxWorkBytes {
		return "", fmt.Errorf("encode work: %w: %d bytes of %d", ErrTooLarge, len(b), MaxWorkBytes)
	}
	return string(b), nil
}

// Decode reads Work of this version. It ignores unknown fields: a newer manager can add some.
func Decode(value string) (Work, error) {
	var w Work
	if len(value) > MaxWorkBytes {
		return Work{}, fmt.Errorf("decode work: %w", ErrTooLarge)
	}
	if err := json.Unmarshal([]byte(value), &w); err != nil {
		return Work{}, fmt.Errorf("decode work: %w", err)
	}
	if w.Version != Version {
		return Work{}, fmt.Errorf("decode work: unsupported version %d, want %d", w.Version, Version)
	}
	hosts := map[string]bool{}
	for _, a := range w.Assignments {
		if a.Host == "" || hosts[a.Host] || len(a.Components) == 0 || a.Attempt < 1 {
			return Work{}, fmt.Errorf("decode work: invalid assignment of host %q", a.Host)
		}
		hosts[a.Host] = true
	}
	return w, nil
}

// For returns the assignment of a pod, or nil.
func (w *Work) For(pod types.UID) *Assignment {
	for i := range w.Assignments {
		if pod != "" && w.Assignments[i].PodUID == pod {
			return &w.Assignments[i]
		}
	}
	return nil
}

// Host returns the assignment of a host, or nil.
func (w *Work) Host(name string) *Assignment {
	for i := range w.Assignments {
		if w.Assignments[i].Host == name {
			return &w.Assignments[i]
		}
	}
	return nil
}

// Assign replaces the assignment of the host.
func (w *Work) Assign(a Assignment) {
	w.Withdraw(a.Host)
	w.Assignments = append(w.Assignments, a)
}

// Withdraw removes the assignment of a host.
func (w *Work) Withdraw(host string) {
	w.Assignments = slices.DeleteFunc(w.Assignments, func(a Assignment) bool { return a.Host == host })
}

// TaskOf returns the complete task of an assignment.
func (w *Work) TaskOf(a *Assignment) task.Task {
	t := w.Task
	t.Components = make([]task.Component, 0, len(a.Components))
	for _, c := range a.Components {
		t.Components = append(t.Components, c.Component)
	}
	return t
}
