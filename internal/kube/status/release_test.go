package status

import (
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TestRelease removes two finalizers of an object, which stays as a third holds it.
func TestRelease(t *testing.T) {
	const other = "example.com/held"
	holds := func(r *v1alpha1.Repository) {
		r.Finalizers = []string{v1alpha1.FinalizerWipe, other, v1alpha1.FinalizerRecord}
	}
	for name, tt := range map[string]struct {
		edit     func(*v1alpha1.Repository)
		changed  bool // meanwhile
		gone     bool
		released bool
		conflict bool
		left     []string
	}{
		"held": {edit: holds, released: true, left: []string{other}},
		"released before": {
			edit: func(r *v1alpha1.Repository) { r.Finalizers = []string{other} }, left: []string{other},
		},
		"gone":              {edit: holds, gone: true},
		"changed meanwhile": {edit: holds, changed: true, conflict: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := newPatched(t, tt.edit)
			object := p.get(t)
			if tt.changed || tt.gone {
				now := p.get(t)
				now.Labels, now.Finalizers = map[string]string{"a": "b"}, nil
				g.Expect(p.Client.Update(t.Context(), now)).To(Succeed())
			}
			if tt.gone {
				g.Expect(p.Client.Delete(t.Context(), p.get(t))).To(Succeed())
			}
			released, err := Writer{Client: p.Client, Owner: "test"}.Release(t.Context(), object,
				v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord)
			g.Expect(released).To(Equal(tt.released))
			g.Expect(p.rest).To(BeNumerically("<=", 1), "all finalizers go in one write")
			if tt.conflict {
				g.Expect(apierrors.IsConflict(err)).To(BeTrue())
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			if !tt.gone {
				g.Expect(p.get(t).Finalizers).To(Equal(tt.left))
			}
		})
	}
}

// TestHold gives an object two finalizers in one write. A second try finds them and writes nothing.
func TestHold(t *testing.T) {
	g := NewWithT(t)
	p := newPatched(t, func(r *v1alpha1.Repository) { r.Finalizers = []string{"example.com/held"} })
	for range 2 {
		g.Expect(Writer{Client: p.Client, Owner: "test"}.Hold(t.Context(), p.get(t), v1alpha1.FinalizerWipe,
			v1alpha1.FinalizerRecord)).To(Succeed())
	}
	g.Expect(p.get(t).Finalizers).To(
		Equal([]string{"example.com/held", v1alpha1.FinalizerWipe, v1alpha1.FinalizerRecord}))
	g.Expect(p.rest).To(Equal(1))
}
