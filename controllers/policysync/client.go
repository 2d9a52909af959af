package policysync

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/ssa"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// owner marks applied objects: it holds the field manager, and the group of LabelSyncName and LabelSyncNamespace.
var owner = ssa.Owner{Field: "cairn-policysync", Group: "policysync." + v1alpha1.Group}

// concurrency limits the concurrent requests of one PolicySync to the API server.
const concurrency = 8

// applier applies and deletes objects for one PolicySync, as the ServiceAccount that it names. Its client reads past
// the cache.
type applier struct {
	*reconciling
	client client.Client
}

func (s *reconciling) applier(ctx context.Context) (*applier, *fault) {
	config := rest.CopyConfig(s.RESTConfig)
	// The API server's priority and fairness slow down a client that asks too much.
	config.QPS, config.Burst = -1, -1
	if name := s.obj.Spec.ServiceAccountName; name != "" {
		account := &corev1.ServiceAccount{}
		err := s.APIReader.Get(ctx, types.NamespacedName{Namespace: s.obj.Namespace, Name: name}, account)
		switch {
		// impersonation would work without the ServiceAccount, with the rights of its name
		case apierrors.IsNotFound(err):
			return nil, &fault{
				reason: v1alpha1.ReasonServiceAccountAbsent,
				message: fmt.Sprintf(
					"ServiceAccount %s/%s does not exist: create it or correct spec.serviceAccountName",
					s.obj.Namespace, name),
			}
		case err != nil:
			return nil, applyFault(ctx, err, nil)
		}
		config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + s.obj.Namespace + ":" + name}
	}
	c, err := client.New(config, client.Options{Scheme: s.Scheme, Mapper: s.RESTMapper()})
	if err != nil {
		return nil, applyFault(ctx, err, nil)
	}
	return &applier{reconciling: s, client: c}, nil
}
