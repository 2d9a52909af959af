package movers_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A namespace that is being deleted refuses every object, and the run goes with it.
func TestWhichRefusalsCanPass(t *testing.T) {
	terminating := apierrors.NewForbidden(batchv1.Resource("jobs"), "j", errors.New("it is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for name, tt := range map[string]struct {
		err     error
		refused bool
	}{
		"a quota":                     {testbed.Denied(http.StatusForbidden), true},
		"a webhook":                   {testbed.Denied(http.StatusBadRequest), true},
		"a webhook that is down":      {testbed.Denied(http.StatusInternalServerError), true},
		"a namespace that is deleted": {terminating, false},
		"an API server that restarts": {apierrors.NewServiceUnavailable("later"), false},
		"an API server under load":    {apierrors.NewTooManyRequests("later", 1), false},
		"an etcd that has no leader":  {apierrors.NewInternalError(errors.New("no leader")), false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := movers.AsDenial(fmt.Errorf("create Job: %w", tt.err))
			g.Expect(run.CanPass(movers.RefusalOf(err))).To(Equal(tt.refused))
			g.Expect(errors.Is(err, tt.err)).To(BeTrue(), "the cause stays")
		})
	}
}
