package status

import (
	"context"
	"errors"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gstruct"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// patched is a Repository in a cluster that counts the requests made to it.
type patched struct {
	client.Client
	key client.ObjectKey
	// status and rest count the requests for the status and for everything else.
	status, rest int
	// seen holds the state after each request.
	seen []v1alpha1.Repository
	// first is called before the first request, as another writer.
	first func(client.Client)
}

func newPatched(t *testing.T, edit func(*v1alpha1.Repository)) *patched {
	t.Helper()
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	object := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", Generation: 3}}
	edit(object)
	p := &patched{key: client.ObjectKeyFromObject(object)}
	before := func(c client.Client) {
		if first := p.first; first != nil {
			p.first = nil
			first(c)
		}
	}
	look := func(ctx context.Context, c client.Client, err error) error {
		var now v1alpha1.Repository
		if err == nil {
			err = c.Get(ctx, p.key, &now)
		}
		p.seen = append(p.seen, now)
		return err
	}
	p.Client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(object).WithStatusSubresource(object).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourcePatch: func(
				ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch,
				opts ...client.SubResourcePatchOption,
			) error {
				before(c)
				p.status++
				return look(ctx, c, c.SubResource(sub).Patch(ctx, o, patch, opts...))
			},
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch,
				opts ...client.PatchOption,
			) error {
				before(c)
				p.rest++
				return look(ctx, c, c.Patch(ctx, o, patch, opts...))
			},
		}).Build()
	return p
}

func (p *patched) get(t *testing.T) *v1alpha1.Repository {
	t.Helper()
	out := &v1alpha1.Repository{}
	NewWithT(t).Expect(p.Get(t.Context(), p.key, out)).To(Succeed())
	return out
}

// change applies edit to the object and writes the result, with Ready owned.
func (p *patched) change(t *testing.T, edit func(*v1alpha1.Repository)) error {
	t.Helper()
	object := p.get(t)
	patcher := Writer{Client: p.Client, Owner: "test"}.NewPatcher(object)
	edit(object)
	return patcher.Patch(t.Context(), object, meta.ReadyCondition)
}

func becomesReady(r *v1alpha1.Repository) {
	r.Status.Phase, r.Status.StoredBytes, r.Status.ObservedGeneration = v1alpha1.PhaseReady, new(int64(1)<<62+1),
		r.Generation
	conditions.MarkTrue(r, meta.ReadyCondition, v1alpha1.ReasonReady, "it can be used")
}

func notReady(r *v1alpha1.Repository) {
	r.Status.Phase = v1alpha1.PhaseNotReady
	conditions.MarkFalse(r, meta.ReadyCondition, v1alpha1.ReasonStorageNotReady, "wait")
}

func TestPatchWritesAStatusInOneRequest(t *testing.T) {
	g := NewWithT(t)
	p := newPatched(t, notReady)
	g.Expect(p.change(t, becomesReady)).To(Succeed())
	g.Expect([]int{p.status, p.rest}).To(Equal([]int{1, 0}))
	g.Expect(p.seen[0].Status.Phase).To(Equal(v1alpha1.PhaseReady))
	g.Expect(conditions.IsReady(&p.seen[0])).To(BeTrue())
	g.Expect(p.seen[0].Status.StoredBytes).To(gstruct.PointTo(Equal(int64(1)<<62 + 1)))

	g.Expect(p.change(t, becomesReady)).To(Succeed())
	g.Expect([]int{p.status, p.rest}).To(Equal([]int{1, 0}), "nothing has changed")
}

func TestPatch(t *testing.T) {
	maintained := func(r *v1alpha1.Repository) {
		conditions.MarkTrue(r, v1alpha1.ConditionMaintained, v1alpha1.ReasonMaintained, "by somebody else")
	}
	paused := func(r *v1alpha1.Repository) { r.Spec.Paused = true }
	both := func(edits ...func(*v1alpha1.Repository)) func(*v1alpha1.Repository) {
		return func(r *v1alpha1.Repository) {
			for _, edit := range edits {
				edit(r)
			}
		}
	}
	for name, c := range map[string]struct {
		before, other, edit func(*v1alpha1.Repository)
		status, rest        int
		want                []string
		generation          int64
		fails               bool
	}{
		"a field alone leaves the conditions of others": {
			before: notReady, other: maintained, edit: func(r *v1alpha1.Repository) { r.Status.Size = "1 B" },
			status: 1, want: []string{"Ready", "Maintained"},
		},
		"a condition of another writer stays": {
			before: notReady, other: maintained, edit: becomesReady, status: 2, want: []string{"Ready", "Maintained"},
		},
		"an owned condition replaces what others wrote": {
			before: notReady, other: func(r *v1alpha1.Repository) { conditions.Delete(r, meta.ReadyCondition) },
			edit: becomesReady, status: 2, want: []string{"Ready"},
		},
		"the last condition goes": {
			before: notReady, edit: func(r *v1alpha1.Repository) { conditions.Delete(r, meta.ReadyCondition) },
			status: 1,
		},
		"status, then metadata and spec": {
			before: notReady, edit: both(becomesReady, paused), status: 1, rest: 1, want: []string{"Ready"},
		},
		"metadata and spec alone": {
			before: notReady, edit: paused, rest: 1, want: []string{"Ready"},
		},
		"the observed generation stays when the spec changes": {
			before: notReady, other: func(r *v1alpha1.Repository) { r.Generation = 4 }, edit: becomesReady, status: 2,
			want: []string{"Ready"}, generation: 3,
		},
		"a condition that two writers change is refused": {
			before: notReady, other: maintained, fails: true, status: 1,
			want: []string{"Ready", "Maintained"},
			edit: func(r *v1alpha1.Repository) {
				conditions.MarkFalse(r, v1alpha1.ConditionMaintained, v1alpha1.ReasonFailed, "not")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := newPatched(t, c.before)
			if c.other != nil {
				p.first = func(other client.Client) {
					o := &v1alpha1.Repository{}
					g.Expect(other.Get(t.Context(), p.key, o)).To(Succeed())
					c.other(o)
					g.Expect(other.Update(t.Context(), o)).To(Succeed())
					g.Expect(other.Get(t.Context(), p.key, o)).To(Succeed())
					c.other(o)
					g.Expect(other.Status().Update(t.Context(), o)).To(Succeed())
				}
			}
			err := p.change(t, c.edit)
			g.Expect(err != nil).To(Equal(c.fails), "%v", err)
			g.Expect([]int{p.status, p.rest}).To(Equal([]int{c.status, c.rest}))
			now := p.get(t)
			var kinds []string
			for _, condition := range now.Status.Conditions {
				kinds = append(kinds, condition.Type)
				if c.generation > 0 {
					g.Expect(condition.ObservedGeneration).To(Equal(c.generation))
				}
			}
			g.Expect(kinds).To(ConsistOf(c.want))
		})
	}
}

// A failed write is not forgotten: the next Patch writes its changes.
func TestAPatchThatFailedIsDoneAgain(t *testing.T) {
	g := NewWithT(t)
	p := newPatched(t, notReady)
	object := p.get(t)
	patcher := Writer{Client: p.Client, Owner: "test"}.NewPatcher(object)
	becomesReady(object)
	p.first = func(other client.Client) { g.Expect(other.Delete(t.Context(), p.get(t))).To(Succeed()) }
	err := patcher.Patch(t.Context(), object, meta.ReadyCondition)
	g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "%v", err)

	p = newPatched(t, notReady)
	patcher.writer.Client = p.Client
	g.Expect(patcher.Patch(t.Context(), object, meta.ReadyCondition)).To(Succeed())
	g.Expect(conditions.IsReady(p.get(t))).To(BeTrue())
	g.Expect(patcher.Patch(t.Context(), object, meta.ReadyCondition)).To(Succeed())
	g.Expect(p.status).To(Equal(1))
}

// The next reconcile starts from the status that was written: nobody else can log its transition.
func TestATransitionIsLoggedAlsoIfTheRestFails(t *testing.T) {
	g := NewWithT(t)
	p := newPatched(t, notReady)
	object := p.get(t)
	refused := errors.New("refused")
	ctx, lines := loglines.Record(t.Context(), 0)
	patcher := Writer{Client: interceptor.NewClient(p.Client.(client.WithWatch), interceptor.Funcs{
		Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			return refused
		},
	}), Owner: "test", Kind: v1alpha1.RepositoryKind}.NewPatcher(object)
	becomesReady(object)
	object.Labels = map[string]string{"a": "b"}
	for range 2 { // a reconcile that patches again finds the same difference
		err := patcher.Patch(ctx, object, meta.ReadyCondition)
		g.Expect(err).To(MatchError(refused))
	}
	g.Expect(conditions.IsReady(p.get(t))).To(BeTrue())
	g.Expect(*lines).To(HaveExactElements(ContainSubstring(`"phase changed" "from"="NotReady" "to"="Ready"`)))
}

// An exclusive Patcher writes what it decided only over what it read, and over its own writes.
func TestAnExclusivePatcherIsOvertaken(t *testing.T) {
	for name, part := range map[string]func(*v1alpha1.Repository){
		"by a write of metadata": func(o *v1alpha1.Repository) { o.Annotations = map[string]string{"other": "x"} },
		"by none":                nil,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := newPatched(t, notReady)
			object := p.get(t)
			patcher := Writer{Client: p.Client, Owner: "test"}.NewPatcher(object).Exclusive()
			becomesReady(object)
			object.Labels = map[string]string{"a": "b"}
			if part != nil {
				p.first = func(other client.Client) {
					now := p.get(t)
					part(now)
					g.Expect(other.Update(t.Context(), now)).To(Succeed())
				}
			}
			err := patcher.Patch(t.Context(), object, meta.ReadyCondition)
			if part != nil {
				g.Expect(apierrors.IsConflict(err)).To(BeTrue(), "%v", err)
				g.Expect(conditions.IsReady(p.get(t))).To(BeFalse())
				g.Expect(p.get(t).Labels).To(BeEmpty())
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(patcher.Version()).To(Equal(p.get(t).ResourceVersion))
			object.Labels["a"] = "c"
			object.Status.SnapshotCount = new(int32(3))
			g.Expect(patcher.Patch(t.Context(), object, meta.ReadyCondition)).To(Succeed())
			g.Expect(conditions.IsReady(p.get(t))).To(BeTrue())
			g.Expect(p.get(t).Labels).To(Equal(map[string]string{"a": "c"}))
		})
	}
}
