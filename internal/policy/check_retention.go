package policy

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// RetentionMistakes is everything that keeps a RetentionPolicy from being used.
func RetentionMistakes(p *v1alpha1.RetentionPolicy) []Mistake {
	_, err := retention.Read(&p.Spec)
	if err == nil {
		return nil
	}
	field, message, _ := strings.Cut(err.Error(), ": ")
	return []Mistake{{Field: field, Reason: v1alpha1.ReasonInvalidRetentionPolicy, Message: message}}
}

// retentionPolicy checks one that is in the set.
func (c *checker) retentionPolicy(o *Object) {
	var p v1alpha1.RetentionPolicy
	if c.read(o, v1alpha1.RetentionPolicyKind, &p) {
		c.addAll(o, RetentionMistakes(&p))
		if p.Spec.Default {
			c.oneDefault(o)
		}
	}
}

// retentionReference looks for a RetentionPolicy and, as far as the set can tell, asks whether it may be used.
func (c *checker) retentionReference(o *Object, field string, ref *v1alpha1.ObjectReference) {
	if ref == nil || ref.Name == "" {
		return
	}
	user := c.referenceOf(o).Namespace
	reference := Reference{GroupKind: ours(v1alpha1.RetentionPolicyKind), Namespace: orDefault(ref.Namespace, user), Name: ref.Name}
	found := c.find(o, field, v1alpha1.ReasonRetentionPolicyNotFound, reference)
	if found == nil || reference.Namespace == user {
		return
	}
	var object v1alpha1.RetentionPolicy
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(found.UnstructuredContent(), &object); err != nil {
		return // It is in the set, which names the mistake there, or in a cluster, which has checked it.
	}
	c.usage(o, field, reference, object.Spec.UsagePolicy, v1alpha1.ReasonRetentionPolicyNotAllowed)
}
