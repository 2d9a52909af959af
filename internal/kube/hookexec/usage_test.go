package hookexec_test

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// TestEachUsagePolicyOfAHookTemplate tests that the usagePolicy is checked before the work, whatever it was when the
// run was frozen.
func TestEachUsagePolicyOfAHookTemplate(t *testing.T) {
	user := bed.Namespace(t, nil)
	// The API server labels each namespace with its name.
	selects := func(name string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": name}}
	}
	for name, c := range map[string]struct {
		allowed v1alpha1.AllowedNamespaces
		may     bool
	}{
		"no usagePolicy": {},
		"All":            {v1alpha1.AllowedNamespaces{From: new(v1alpha1.NamespacesFromAll)}, true},
		"Same":           {v1alpha1.AllowedNamespaces{From: new(v1alpha1.NamespacesFromSame)}, false},
		"Selector": {
			v1alpha1.AllowedNamespaces{From: new(v1alpha1.NamespacesFromSelector), Selector: selects(user)}, true,
		},
		"Selector of others": {
			v1alpha1.AllowedNamespaces{From: new(v1alpha1.NamespacesFromSelector), Selector: selects("other")}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, home := NewWithT(t), bed.Namespace(t, nil)
			g.Expect(bed.Client.Create(t.Context(), &v1alpha1.HookTemplate{
				ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "t"}, Spec: v1alpha1.HookTemplateSpec{
					Action: &v1alpha1.HookAction{
						TCPSocket: &v1alpha1.HookTCPSocketAction{Host: "x", Port: intstr.FromInt32(1)},
					},
					Executor:    &v1alpha1.HookExecutor{Type: v1alpha1.HookExecutorOperator},
					UsagePolicy: &v1alpha1.UsagePolicy{AllowedNamespaces: c.allowed},
				},
			})).To(Succeed())
			s := serve(t, status(200))
			get := s.get("/")
			run := operator(v1alpha1.HookAction{HTTPGet: &get}, func(h *v1alpha1.ResolvedHook) {
				h.Template = v1alpha1.ObjectReference{Namespace: home, Name: "t"}
			})
			run.Stage = hookstage.Pre
			want := hookstage.Outcome{}
			if !c.may {
				want = hookstage.Outcome{
					Reason: v1alpha1.ReasonHookTemplateNotAllowed, Final: true,
					Message: fmt.Sprintf(
						"the usagePolicy of HookTemplate %s/t does not allow the namespace %s", home, user),
				}
			}
			g.Expect(executor().Execute(t.Context(), user, run)).To(Equal(want))
		})
	}
}
