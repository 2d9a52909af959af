package volumesnapshot

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NoKind reports whether a request failed because the cluster lacks the kind: it was never installed, or it was removed
// while the manager runs. A missing object or namespace is another error.
func NoKind(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) &&
		apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}
