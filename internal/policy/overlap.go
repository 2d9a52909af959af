package policy

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

// Overlaps finds what a session of a batch backs up twice although nobody asked for it: an object that two targets
// stand for, at least one of them by a selector, and a claim that is also in the backup of a workload. candidates has
// the volumes of workloads. The result is only a warning: each target is backed up all the same. Two targets that both
// name an object are intended, such as two databases of a server.
func Overlaps(batch *v1alpha1.BackupBatch, targets []Target, candidates []Candidate) []Mistake {
	volumes := map[v1alpha1.TypedObjectReference][]string{}
	for i := range candidates {
		if c := &candidates[i]; c.Volumes != nil && len(c.Volumes.Claims) > 0 {
			volumes[v1alpha1.TypedObjectReference{
				APIGroup: c.Kind.Group(), Kind: string(c.Kind),
				Name: c.Name,
			}] = c.Volumes.Claims
		}
	}
	var out []Mistake
	for i := range batch.Spec.Sessions {
		session := &batch.Spec.Sessions[i]
		o := overlaps{objects: map[overlap][]string{}}
		in := SessionTargets(session, targets)
		o.same(in)
		o.mounted(batch, in, volumes)
		for _, found := range o.found {
			out = append(out, Mistake{
				Field: fmt.Sprintf("spec.sessions[%d].targets", i), Reason: v1alpha1.ReasonBackedUpTwice,
				Message: fmt.Sprintf("session %q backs up %s twice: %s. Each backup has its own Repositories, params "+
					"and hooks: exclude the object from one of the targets",
					session.Name, text.FirstFew(o.objects[found]), found),
			})
		}
	}
	return out
}

// overlap is between two targets of a session, by their names in spec.targets. mounts means that the second mounts the
// object of the first.
type overlap struct {
	first, second string
	mounts        bool
}

func (o overlap) String() string {
	if o.mounts {
		return fmt.Sprintf("for target %s, and with the workload that mounts it for target %s", o.first, o.second)
	}
	return fmt.Sprintf("for target %s and for target %s", o.first, o.second)
}

// overlaps holds the objects of each overlap of a session, and the overlaps in the order in which they were found.
type overlaps struct {
	found   []overlap
	objects map[overlap][]string
}

func (o *overlaps) add(between overlap, object v1alpha1.TypedObjectReference) {
	if o.objects[between] == nil {
		o.found = append(o.found, between)
	}
	o.objects[between] = append(o.objects[between], object.String())
}

// same looks for objects that several targets of a session stand for.
func (o *overlaps) same(targets []Target) {
	first := make(map[v1alpha1.TypedObjectReference]*Target, len(targets))
	for i := range targets {
		t := &targets[i]
		object := plain(t.AppRef)
		if f := first[object]; f == nil {
			first[object] = t
		} else if f.FoundBy != "" || t.FoundBy != "" {
			o.add(overlap{first: f.Entry(), second: t.Entry()}, object)
		}
	}
}

// mounted looks for claims that another target of a session mounts and backs up.
func (o *overlaps) mounted(
	batch *v1alpha1.BackupBatch, targets []Target, volumes map[v1alpha1.TypedObjectReference][]string,
) {
	by := map[string]*Target{}
	for i := range targets {
		if claims := volumes[plain(targets[i].AppRef)]; claims != nil && addonIsInferred(batch, targets[i].Entry()) {
			for _, claim := range claims {
				by[claim] = &targets[i]
			}
		}
	}
	for i := range targets {
		t := &targets[i]
		if w := by[t.AppRef.Name]; w != nil && t.AppRef.Kind == v1alpha1.KindPersistentVolumeClaim &&
			w.Entry() != t.Entry() {
			o.add(overlap{first: t.Entry(), second: w.Entry(), mounts: true}, t.AppRef)
		}
	}
}

// plain returns an object reference without its namespace, which is the batch's.
func plain(o v1alpha1.TypedObjectReference) v1alpha1.TypedObjectReference {
	return v1alpha1.TypedObjectReference{APIGroup: o.APIGroup, Kind: o.Kind, Name: o.Name}
}
