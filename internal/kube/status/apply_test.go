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

// An entry must not reach an object that was deleted and made again under its name: a Ledger would call the namesake
// recorded. Each attempt is made over the state of which the UID was compared. controllers/ledger has the same against
// an API server.
func TestApplyTo(t *testing.T) {
	for name, c := range map[string]struct {
		namesake  bool
		conflicts int
		fails     bool
		applies   int
	}{
		"the object":             {applies: 1},
		"a namesake":             {namesake: true, fails: true},
		"writes between":         {conflicts: 19, applies: 20},
		"a write between always": {conflicts: 20, applies: 20, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := newApplied(t, c.conflicts)
			object := p.get(t)
			if c.namesake {
				object.UID = "u-0"
			}
			err := Writer{Client: p.Client}.ApplyTo(t.Context(), p.Client, v1alpha1.BackupSessionKind, object, "ledger",
				map[string]any{})
			g.Expect(p.versions).To(HaveLen(c.applies))
			g.Expect(p.versions).NotTo(ContainElement(""), "each attempt names what it was made over")
			g.Expect(apierrors.IsNotFound(err)).To(Equal(c.namesake), "%v", err)
			g.Expect(apierrors.IsConflict(err)).To(Equal(c.fails && !c.namesake), "%v", err)
		})
	}
}

// Apply meets no conflict: all Repositories of a BackupBatch write to one BackupSession.
func TestApply(t *testing.T) {
	g := NewWithT(t)
	p := newApplied(t, 0)
	g.Expect(Writer{Client: p.Client}.Apply(t.Context(), v1alpha1.BackupSessionKind, p.get(t), "retention",
		map[string]any{})).To(Succeed())
	g.Expect(p.versions).To(Equal([]string{""}))
}

// applied is a BackupSession in a cluster in which others write before the first applies.
type applied struct {
	client.Client
	versions []string // that were applied over, empty for any
}

func newApplied(t *testing.T, conflicts int) *applied {
	t.Helper()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	p := &applied{}
	p.Client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(&v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "nightly", UID: "u-1"},
	}).WithInterceptorFuncs(interceptor.Funcs{SubResourceApply: func(
		ctx context.Context, c client.Client, _ string, o runtime.ApplyConfiguration,
		_ ...client.SubResourceApplyOption,
	) error {
		version := versionOf(g, o)
		p.versions = append(p.versions, version)
		var now v1alpha1.BackupSession
		g.Expect(c.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "nightly"}, &now)).To(Succeed())
		if version == "" {
			return nil
		}
		g.Expect(version).To(Equal(now.ResourceVersion), "the newest state is read again")
		if len(p.versions) > conflicts {
			return nil
		}
		now.Labels = map[string]string{"write": now.ResourceVersion}
		g.Expect(c.Update(ctx, &now)).To(Succeed())
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("x").GroupResource(), now.Name,
			errors.New("it has changed"))
	}}).Build()
	return p
}

func (p *applied) get(t *testing.T) *v1alpha1.BackupSession {
	t.Helper()
	out := &v1alpha1.BackupSession{}
	NewWithT(t).Expect(p.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "nightly"}, out)).To(Succeed())
	return out
}

func versionOf(g *WithT, o runtime.ApplyConfiguration) string {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	g.Expect(err).NotTo(HaveOccurred())
	version, _, err := unstructured.NestedString(content, "metadata", "resourceVersion")
	g.Expect(err).NotTo(HaveOccurred())
	return version
}
