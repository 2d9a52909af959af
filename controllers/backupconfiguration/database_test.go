package backupconfiguration

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A Secret of the Service Binding specification names the type of its database, and so the Addon that backs it up.
func TestTheAddonOfWhatSaysItsType(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ kind, reason, says string }{
		"a known type": {kind: "servicebinding.io/postgresql", reason: v1alpha1.ReasonReady},
		"a type without an Addon": {
			"servicebinding.io/mongodb", v1alpha1.ReasonAddonNotFound,
			`spec.sessions[0].addon: Secret/login has the type "servicebinding.io/mongodb", ` +
				`for which there is no built-in Addon: name the Addon with its task`,
		},
		"no Secret": {
			"", v1alpha1.ReasonTargetNotFound,
			"spec.sessions[0].addon: there is no Secret/login to tell the type of the database",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			namespace := bed.Namespace(t, nil)
			defaultStorage(t, namespace, nil)
			if tc.kind != "" {
				bed.Create(t, &corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "login"},
					Type:       corev1.SecretType(tc.kind),
				})
			}
			configuration := smallestOf(namespace)
			configuration.Spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindSecret, Name: "login"}
			bed.Create(t, testbed.Claim(namespace, "uploads"), configuration)
			if tc.reason != v1alpha1.ReasonReady {
				bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, tc.reason, tc.says)
				g.Expect(configuration.Status.Resolved.Sessions[0].Addon).To(BeEmpty())
				return
			}
			bed.ReadyRepositories(t, namespace, "files")
			bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, tc.reason, "")
			g.Expect(configuration.Status.Resolved.Sessions[0]).
				To(And(HaveField("Addon", "postgres-addon"), HaveField("Task", "logical-backup")))
			g.Expect(configuration.Spec.Sessions[0].Addon).To(BeNil())
		})
	}
}
