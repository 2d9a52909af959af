package check

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/complete"
	"github.com/cairn-backup/cairn/internal/retention"
)

// retentionMistakes returns everything that keeps a RetentionPolicy from being used.
func retentionMistakes(p *v1alpha1.RetentionPolicy) []policy.Mistake {
	_, err := retention.Read(&p.Spec)
	if err == nil {
		return nil
	}
	field, message, _ := strings.Cut(err.Error(), ": ")
	return []policy.Mistake{{Field: field, Reason: v1alpha1.ReasonInvalidRetentionPolicy, Message: message}}
}

// retentionPolicy checks a RetentionPolicy of the set.
func (c *checker) retentionPolicy(o *Object) {
	var p v1alpha1.RetentionPolicy
	if c.read(o, v1alpha1.RetentionPolicyKind, &p) {
		c.addAll(o, retentionMistakes(&p))
		p.Namespace = c.referenceOf(o).Namespace
		c.policies = append(c.policies, p)
		if p.Spec.Default {
			c.oneDefault(o)
		}
	}
}

// defaultRetention notes which RetentionPolicy of the set o's namespace gets as the default.
func (c *checker) defaultRetention(o *Object) {
	user := c.referenceOf(o).Namespace
	labels, _ := c.namespaceLabels(user)
	chosen := complete.ChooseDefault(complete.DefaultPolicies(c.policies), c.Administrators, user, labels)
	if chosen != nil {
		c.uses(o, Reference{ours(v1alpha1.RetentionPolicyKind), chosen.Namespace, chosen.Name})
	}
}

// retentionReference checks that a RetentionPolicy exists and, as far as the set shows it, that o's namespace is
// allowed to use it.
func (c *checker) retentionReference(o *Object, field string, ref *v1alpha1.ObjectReference) {
	if ref == nil || ref.Name == "" {
		c.defaultRetention(o)
		return
	}
	user := c.referenceOf(o).Namespace
	reference := Reference{
		GroupKind: ours(v1alpha1.RetentionPolicyKind), Namespace: orDefault(ref.Namespace, user),
		Name: ref.Name,
	}
	found := c.find(o, field, v1alpha1.ReasonRetentionPolicyNotFound, reference)
	if found == nil || reference.Namespace == user {
		return
	}
	var object v1alpha1.RetentionPolicy
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(found.UnstructuredContent(), &object); err != nil {
		return // The mistake is reported at the RetentionPolicy in the set, or the cluster has checked it.
	}
	c.usage(o, field, reference, object.Spec.UsagePolicy, v1alpha1.ReasonRetentionPolicyNotAllowed)
}
