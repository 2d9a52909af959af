package policy

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Candidate is an object of a batch's namespace that a selector can find.
type Candidate struct {
	Kind   v1alpha1.TargetKind
	Name   string
	Labels map[string]string
	// Deleting reports that the object is being deleted.
	Deleting bool
	// OfPod reports that a PersistentVolumeClaim belongs to a pod and is deleted with it.
	OfPod bool
	// Volumes of a workload's pods; nil if unknown.
	Volumes *PodVolumes
}

// PodVolumes describes where the pods of a workload keep their data.
type PodVolumes struct {
	// Claims that a backup of the workload reads.
	Claims []string
	// None reports that the pods have no volume that keeps data.
	None bool
}

// FindAmong returns a Find that selects among these objects. If no session names an Addon for a target, the backup of a
// workload includes the volumes of its pods. Then Find leaves out a claim that is mounted by a workload which the same
// selector finds, and a workload that keeps no data. What one target finds does not depend on the other targets.
func FindAmong(batch *v1alpha1.BackupBatch, candidates []Candidate) Find {
	return func(target *v1alpha1.BatchTarget) []v1alpha1.TypedObjectReference {
		match, err := newMatcher(target.Selector)
		if err != nil {
			return nil // selectorMistakes reports it.
		}
		var found []*Candidate
		for i := range candidates {
			if c := &candidates[i]; !c.Deleting && !c.OfPod && match.finds(c.Kind, c.Name, c.Labels) {
				found = append(found, c)
			}
		}
		if addonIsInferred(batch, target.Name) {
			found = withoutMounted(found)
		}
		var out []v1alpha1.TypedObjectReference
		for _, c := range found {
			out = append(out, v1alpha1.TypedObjectReference{
				APIGroup: c.Kind.Group(), Kind: string(c.Kind), Name: c.Name,
			})
		}
		return out
	}
}

// withoutMounted leaves out the workloads that keep no data, and the claims that another workload among found mounts.
func withoutMounted(found []*Candidate) []*Candidate {
	found = slices.DeleteFunc(found, func(c *Candidate) bool { return c.Volumes != nil && c.Volumes.None })
	mounted := map[string]bool{}
	for _, c := range found {
		if c.Volumes != nil {
			for _, claim := range c.Volumes.Claims {
				mounted[claim] = true
			}
		}
	}
	return slices.DeleteFunc(found, func(c *Candidate) bool {
		return c.Kind == v1alpha1.KindPersistentVolumeClaim && mounted[c.Name]
	})
}

// addonIsInferred reports whether no session of the batch names an Addon for a target.
func addonIsInferred(batch *v1alpha1.BackupBatch, target string) bool {
	for i := range batch.Spec.Sessions {
		if slices.ContainsFunc(batch.Spec.Sessions[i].Targets, func(t v1alpha1.BatchSessionTarget) bool {
			return t.Name == target && t.Addon != nil
		}) {
			return false
		}
	}
	return true
}

// Selects reports whether a selector finds an object with this kind, name and labels.
func Selects(
	selector *v1alpha1.TargetSelector, kind v1alpha1.TargetKind, name string, objectLabels map[string]string,
) bool {
	if selector == nil {
		return false
	}
	match, err := newMatcher(selector)
	return err == nil && match.finds(kind, name, objectLabels)
}

// matcher is a parsed selector.
type matcher struct {
	*v1alpha1.TargetSelector
	labels  labels.Selector
	without labels.Selector
	names   map[v1alpha1.ExcludedTarget]bool
}

func newMatcher(selector *v1alpha1.TargetSelector) (*matcher, error) {
	m := &matcher{TargetSelector: selector, labels: labels.Everything(), without: labels.Nothing()}
	var err error
	if selector.LabelSelector != nil {
		if m.labels, err = metav1.LabelSelectorAsSelector(selector.LabelSelector); err != nil {
			return nil, err
		}
	}
	if exclude := selector.Exclude; exclude != nil {
		if m.without, err = metav1.LabelSelectorAsSelector(exclude.LabelSelector); err != nil {
			return nil, err
		}
		m.names = make(map[v1alpha1.ExcludedTarget]bool, len(exclude.Names))
		for _, name := range exclude.Names {
			m.names[name] = true
		}
	}
	return m, nil
}

func (m *matcher) finds(kind v1alpha1.TargetKind, name string, of map[string]string) bool {
	return slices.Contains(m.Kinds, kind) && m.labels.Matches(labels.Set(of)) && !m.without.Matches(labels.Set(of)) &&
		!m.names[v1alpha1.ExcludedTarget{Kind: kind, Name: name}]
}

// selectorMistakes finds the mistakes in a selector itself.
func selectorMistakes(field string, selector *v1alpha1.TargetSelector) []Mistake {
	var out []Mistake
	read := func(at string, s *metav1.LabelSelector) {
		if s == nil {
			return
		}
		if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
			out = append(out, Mistake{Field: at, Reason: v1alpha1.ReasonResourceValidationFailed, Message: err.Error()})
		}
	}
	read(field+".labelSelector", selector.LabelSelector)
	if exclude := selector.Exclude; exclude != nil && exclude.LabelSelector != nil {
		at := field + ".exclude.labelSelector"
		read(at, exclude.LabelSelector)
		if len(exclude.LabelSelector.MatchLabels)+len(exclude.LabelSelector.MatchExpressions) == 0 {
			out = append(out, Mistake{
				Field: at, Reason: v1alpha1.ReasonResourceValidationFailed,
				Message: "it is empty and so excludes everything: set the labels that exclude an object, or remove it",
			})
		}
	}
	return out
}
