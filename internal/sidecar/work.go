package sidecar

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/internal/task"
)

// Version of the Work's JSON. A sidecar leaves Work of another version alone.
const Version = 1

// MaxWorkBytes bounds the Work's JSON: all annotations of an object share 256 KiB, and v1alpha1.AnnotationMovers is among them.
const MaxWorkBytes = 128 << 10

// ErrTooLarge says that more pods or volumes were to be told of than fit into an annotation.
var ErrTooLarge = errors.New("the work of the sidecars does not fit into an annotation")

// Work is what sidecars are to do for one Snapshot or RestoreSession. It holds no credential.
type Work struct {
	// Version of this JSON.
	Version int `json:"version"`
	// Task without components: these are in Assignments.
	Task task.Task `json:"task"`
	// Args of the mover's subcommand that Task.Kind names, as a Job's mover gets them.
	Args []string `json:"args,omitempty"`
	// Keys of the repository in the sidecar's Secret, and the version of them that is needed.
	Keys        RepositoryKeys `json:"keys"`
	KeysVersion string         `json:"keysVersion,omitempty"`
	// Assignments, one a host, ordered by the host's name.
	Assignments []Assignment `json:"assignments,omitempty"`
}

// Assignment is what one pod's sidecar is to do.
type Assignment struct {
	// Host of the target, as in status.resolved.
	Host string `json:"host"`
	// Attempt is 1 or 2 for a backup, that of the session for a restore.
	Attempt int `json:"attempt"`
	// Since is when somebody was first looked for to do it.
	Since metav1.Time `json:"since"`
	// Pod and PodUID say whose sidecar does it. Empty: nobody was found yet.
	Pod    string    `json:"pod,omitempty"`
	PodUID types.UID `json:"podUID,omitempty"`
	// Given is when the pod was chosen.
	Given *metav1.Time `json:"given,omitempty"`
	// Within is how long the work may take from when the sidecar begins. Then nobody waits for it any more: it ends without a word
	// if nobody could tell the sidecar so. Not a time of day: the clocks of manager and node may differ. 0: for ever.
	Within metav1.Duration `json:"within,omitzero"`
	// Idle is when the pod's sidecar was last seen to have other work first.
	Idle *metav1.Time `json:"idle,omitempty"`
	// Restarts is how often the sidecar's container had been started again when the pod was chosen.
	Restarts int32 `json:"restarts,omitempty"`
	// Stop asks the sidecar to stop and to say so: what is not done is reported as Cancelled.
	Stop bool `json:"stop,omitempty"`
	// Components in the order of the work.
	Components []Component `json:"components"`
}

// Component is a component of a Task and where it lies.
type Component struct {
	task.Component `json:",inline"`
	// Volume of the pod, by its name in the pod's spec.
	Volume string `json:"volume"`
}

// Encode gives the Work's JSON. It fails with ErrTooLarge where that would not fit.
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

// Decode reads Work of this version. Fields that it does not know are ignored: a newer manager may add some.
func Decode(value string) (Work, error) {
	var w Work
	if len(value) > MaxWorkBytes {
		return Work{}, fmt.Errorf("decode work: %w", ErrTooLarge)
	}
	if err := json.Unmarshal([]byte(value), &w); err != nil {
		return Work{}, fmt.Errorf("decode work: %w", err)
	}
	if w.Version != Version {
		return Work{}, fmt.Errorf("decode work: version %d, this one knows version %d", w.Version, Version)
	}
	hosts := map[string]bool{}
	for _, a := range w.Assignments {
		if a.Host == "" || hosts[a.Host] || len(a.Components) == 0 || a.Attempt < 1 {
			return Work{}, fmt.Errorf("decode work: host %q is not assigned as it must be", a.Host)
		}
		hosts[a.Host] = true
	}
	return w, nil
}

// For gives the assignment of a pod, nil where there is none.
func (w *Work) For(pod types.UID) *Assignment {
	for i := range w.Assignments {
		if pod != "" && w.Assignments[i].PodUID == pod {
			return &w.Assignments[i]
		}
	}
	return nil
}

// Host gives the assignment of a host, nil where there is none.
func (w *Work) Host(name string) *Assignment {
	for i := range w.Assignments {
		if w.Assignments[i].Host == name {
			return &w.Assignments[i]
		}
	}
	return nil
}

// Assign puts an assignment in the place of the host's former one.
func (w *Work) Assign(a Assignment) {
	w.Withdraw(a.Host)
	w.Assignments = append(w.Assignments, a)
}

// Withdraw removes the assignment of a host.
func (w *Work) Withdraw(host string) {
	w.Assignments = slices.DeleteFunc(w.Assignments, func(a Assignment) bool { return a.Host == host })
}

// TaskOf is the whole task of an assignment.
func (w *Work) TaskOf(a *Assignment) task.Task {
	t := w.Task
	t.Components = make([]task.Component, 0, len(a.Components))
	for _, c := range a.Components {
		t.Components = append(t.Components, c.Component)
	}
	return t
}
