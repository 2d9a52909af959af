package sidecar

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/testbed"
)

var errKilled = errors.New("killed")

// mortal is the client of a manager that is killed at one of its writes: before or after it reaches the API server.
type mortal struct {
	client.Client
	at, count int
	after     bool
}

func (m *mortal) write(do func() error) error {
	m.count++
	switch {
	case m.at > 0 && m.count > m.at, m.count == m.at && !m.after:
		return errKilled
	case m.count == m.at:
		return errors.Join(do(), errKilled)
	}
	return do()
}

func (m *mortal) Apply(ctx context.Context, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	return m.write(func() error { return m.Client.Apply(ctx, o, opts...) })
}

func (m *mortal) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	return m.write(func() error { return m.Client.Create(ctx, o, opts...) })
}

func (m *mortal) Patch(ctx context.Context, o client.Object, p client.Patch, opts ...client.PatchOption) error {
	return m.write(func() error { return m.Client.Patch(ctx, o, p, opts...) })
}

func (m *mortal) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	return m.write(func() error { return m.Client.Delete(ctx, o, opts...) })
}

func (m *mortal) SubResource(name string) client.SubResourceClient {
	return mortalSub{m.Client.SubResource(name), m}
}

type mortalSub struct {
	client.SubResourceClient
	*mortal
}

func (m mortalSub) Create(ctx context.Context, o, sub client.Object, opts ...client.SubResourceCreateOption) error {
	return m.write(func() error { return m.SubResourceClient.Create(ctx, o, sub, opts...) })
}

func (m mortalSub) Get(ctx context.Context, o, sub client.Object, opts ...client.SubResourceGetOption) error {
	return m.SubResourceClient.Get(ctx, o, sub, opts...)
}

func (m mortalSub) Update(ctx context.Context, o client.Object, opts ...client.SubResourceUpdateOption) error {
	return m.SubResourceClient.Update(ctx, o, opts...)
}

func (m mortalSub) Patch(
	ctx context.Context, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption,
) error {
	return m.SubResourceClient.Patch(ctx, o, p, opts...)
}

func (m mortalSub) Apply(
	ctx context.Context, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption,
) error {
	return m.SubResourceClient.Apply(ctx, o, opts...)
}

func TestKilledAtAnyWriteItComesAndGoesWhole(t *testing.T) {
	for at := 1; at <= 8; at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(at, after), func(t *testing.T) {
				t.Parallel()
				s := newShop(t)
				held.Store(s.namespace, true)
				s.apply()
				before := s.deployment.DeepCopy()
				bed.Create(t, s.configuration)
				bed.ReadyRepositories(t, s.namespace, s.configuration.Name)
				m := &mortal{Client: running.Client, at: at, after: after}
				look := func() {
					t.Helper()
					r := another(t, s.namespace, oldImage, time.Now())
					r.Client = m
					_, err := r.Reconcile(t.Context(), requestOf("Deployment", s.namespace, "web"))
					if err != nil {
						s.Expect(err).To(MatchError(errKilled))
						s.orderly()
						m.at = 0
						r = another(t, s.namespace, oldImage, time.Now()) // what the manager remembered is lost
						r.Client = m
						_, err = r.Reconcile(t.Context(), requestOf("Deployment", s.namespace, "web"))
					}
					s.Expect(err).NotTo(HaveOccurred())
				}
				look()
				s.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.deployment), s.deployment)).
					To(Succeed())
				s.Expect(s.container()).NotTo(BeNil())
				s.Expect(s.deployment.Generation).To(Equal(before.Generation+1), "the pods are replaced exactly once")
				s.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.secret), s.secret)).To(Succeed())
				s.Expect(s.secret.Data).To(HaveKey(sidecar.KeyToken))

				bed.Remove(t, s.configuration)
				s.Eventually(func() error {
					return bed.Manager.GetClient().Get(t.Context(), client.ObjectKeyFromObject(s.configuration),
						&v1alpha1.BackupConfiguration{})
				}).WithTimeout(testbed.Patience).
					Should(MatchError(ContainSubstring("not found")), "the cache knows that the "+
						"policy is gone")
				look()
				s.clean()
				s.Expect(s.deployment.Spec).To(Equal(before.Spec))
			})
		}
	}
}

// orderly asserts that no keys lie where nobody would look for them.
func (s *shop) orderly() {
	s.Helper()
	s.Expect(bed.Client.Get(s.Context(), client.ObjectKeyFromObject(s.deployment), s.deployment)).To(Succeed())
	err := bed.Client.Get(s.Context(), client.ObjectKeyFromObject(s.secret), s.secret)
	if err == nil && s.deployment.Labels[v1alpha1.LabelSidecar] == "" {
		s.Expect(s.secret.Data).To(BeEmpty())
	}
}
