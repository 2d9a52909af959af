package sidecar

import (
	"context"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// broken is an API server that answers no read.
type broken struct{ client.Reader }

var errBroken = errors.New("the API server does not answer")

func (broken) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errBroken
}

// metadata waits until the cache has the newest metadata of the Deployment: the label decides who looks at it.
func (s *shop) metadata() {
	s.Helper()
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "web"}}
	o.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind(v1alpha1.KindDeployment))
	bed.Cached(s.T, o)
}

// Whoever takes the sidecar out of the pod template can take its label, too. While another policy is unknown, neither
// policy nor workload says any more that there was a sidecar, but its keys must not outlive it.
func TestKeysGoWithTheSidecarWhileItsPolicyIsUnknown(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.start()
	second := s.policy("zeta")
	second.Spec.Sessions[0].Executor = ""
	second.Spec.Sessions[0].Addon = &v1alpha1.AddonInfo{
		Name: "later", Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}},
	}
	bed.Create(t, second)
	bed.Cached(t, second)
	s.metadata()
	r := another(t, s.namespace, oldImage, time.Now())
	look := func() error {
		_, err := r.Reconcile(t.Context(), requestOf(v1alpha1.KindDeployment, s.namespace, "web"))
		return err
	}
	keys := sidecar.KeysOf(s.namespace, "web").Encryption("password")
	s.refresh(r)
	s.Expect(s.secret.Data).To(HaveKey(keys))

	bed.Remove(t, s.configuration)
	s.Eventually(func() bool {
		return apierrors.IsNotFound(r.Get(t.Context(), client.ObjectKeyFromObject(s.configuration), s.configuration))
	}, testbed.Patience, testbed.Interval).Should(BeTrue(), "the cache knows that the policy is gone")
	s.refresh(r)
	s.Expect(s.container()).NotTo(BeNil(), "the other policy can want the sidecar")
	s.Expect(s.secret.Data).To(HaveKey(keys))

	s.strip()
	s.metadata()
	live := r.APIReader
	r.APIReader = broken{live}
	s.Expect(look()).To(MatchError(errBroken), "the workload is looked at, although it has no label")
	r.APIReader = live
	s.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s.secret), s.secret)).To(Succeed())
	s.Expect(look()).To(Succeed())
	s.clean()

	r.APIReader = broken{live}
	s.Expect(look()).To(Succeed(), "a workload without anything of ours costs no request")
}
