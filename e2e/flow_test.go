package e2e

import (
	"testing"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// since returns when a condition became true.
func since(t *testing.T, object conditioned, kind string) metav1.Time {
	t.Helper()
	g := NewWithT(t)
	c := apimeta.FindStatusCondition(object.GetConditions(), kind)
	g.Expect(c).NotTo(BeNil(), kind)
	g.Expect(c.Status).To(Equal(metav1.ConditionTrue), c.Message)
	return c.LastTransitionTime
}
