package status

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A status must not reach an object that was deleted and made again under its name: a Ledger would call the namesake
// recorded. Each attempt is made over the state of which the UID was compared. controllers/ledger has the same against
// an API server.
func TestApply(t *testing.T) {
	conflict := apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("x").GroupResource(), "nightly",
		errors.New("it has changed"))
	for name, c := range map[string]struct {
		namesake bool
		answers  []error
		fails    bool
		applies  int
	}{
		"the object":            {applies: 1, answers: []error{nil}},
		"a namesake":            {namesake: true, fails: true},
		"another write between": {applies: 2, answers: []error{conflict, nil}},
		"a write between always": {
			applies: 5, answers: []error{conflict, conflict, conflict, conflict, conflict}, fails: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
			object := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "nightly", UID: "u-1",
			}}
			var versions []string
			live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(object).Build()
			api := interceptor.NewClient(live, interceptor.Funcs{
				SubResourceApply: func(
					ctx context.Context, _ client.Client, _ string, o runtime.ApplyConfiguration,
					_ ...client.SubResourceApplyOption,
				) error {
					versions = append(versions, versionOf(g, o))
					g.Expect(live.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
					g.Expect(versions[len(versions)-1]).To(Equal(object.ResourceVersion))
					object.Labels = map[string]string{"write": object.ResourceVersion}
					g.Expect(live.Update(ctx, object)).To(Succeed())
					return c.answers[len(versions)-1]
				},
			})
			meta := object.ObjectMeta.DeepCopy()
			if c.namesake {
				meta.UID = "u-0"
			}
			err := Writer{Client: api}.Apply(t.Context(), live, v1alpha1.BackupSessionKind, meta, "ledger",
				map[string]any{})
			g.Expect(versions).To(HaveLen(c.applies))
			g.Expect(apierrors.IsNotFound(err)).To(Equal(c.namesake), "%v", err)
			g.Expect(err != nil).To(Equal(c.fails), "%v", err)
		})
	}
}

func versionOf(g *WithT, o runtime.ApplyConfiguration) string {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	g.Expect(err).NotTo(HaveOccurred())
	version, _, err := unstructured.NestedString(content, "metadata", "resourceVersion")
	g.Expect(err).NotTo(HaveOccurred())
	return version
}
