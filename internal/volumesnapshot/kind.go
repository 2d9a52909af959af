package volumesnapshot

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NoKind says whether a request failed because the cluster has no such kind: it never had it, or it went while the manager runs, which
// then asks for what the API server does not serve. That there is no object, or no namespace, of a name is another error.
func NoKind(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
