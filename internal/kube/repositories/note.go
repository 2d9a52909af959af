package repositories

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/status"
)

// note is what a departure writes on a Repository whose deletionPolicy it replaces: the value of AnnotationDeparture.
type note struct {
	// own is the deletionPolicy that the Repository had.
	own v1alpha1.DeletionPolicy
	// kind, name and uid are those of the policy that goes. An older version did not write them.
	kind, name, uid string
}

// write puts the note on a Repository. It holds for that object alone.
func (n note) write(repository *v1alpha1.Repository) {
	metav1.SetMetaDataAnnotation(&repository.ObjectMeta, v1alpha1.AnnotationDeparture,
		strings.Join([]string{string(n.own), string(repository.UID), n.kind, n.name, n.uid}, "/"))
}

// noteOn returns the note on a Repository, or false if there is none that a departure of this Repository can have
// written: anybody who writes metadata can write the annotation, and it comes along with a copy of the Repository. An
// older version did not say for which object a note holds: such a note can keep data, but not ask for its removal.
func noteOn(repository *v1alpha1.Repository) (note, bool) {
	fields := strings.Split(repository.Annotations[v1alpha1.AnnotationDeparture], "/")
	n := note{own: v1alpha1.DeletionPolicy(fields[0])}
	switch {
	case len(fields) == 1:
		return n, n.own == v1alpha1.DeleteObjects
	case len(fields) != 5 || fields[1] != string(repository.UID) || fields[4] == "" ||
		!slices.Contains([]string{v1alpha1.BackupConfigurationKind, v1alpha1.BackupBatchKind}, fields[2]):
		return note{}, false
	}
	n.kind, n.name, n.uid = fields[2], fields[3], fields[4]
	return n, n.own == v1alpha1.DeleteObjects || n.own == v1alpha1.WipeOut
}

// takeBack gives a Repository that stays its own deletionPolicy again, if a departure that was killed before it could
// delete the Repository had replaced it. A note that no departure has written is removed.
func takeBack(ctx context.Context, w status.Writer, repository *v1alpha1.Repository) error {
	if _, ok := repository.Annotations[v1alpha1.AnnotationDeparture]; !ok || !repository.DeletionTimestamp.IsZero() {
		return nil
	}
	before := repository.DeepCopy()
	if n, ok := noteOn(repository); ok {
		repository.Spec.DeletionPolicy = n.own
	}
	delete(repository.Annotations, v1alpha1.AnnotationDeparture)
	return w.Object(ctx, before, repository)
}

// Settle takes back what a departure has written on a Repository once the policy that goes is gone without the
// Repository: somebody removed the finalizer of the policy while the manager was down. waits reports that the policy
// still exists. live reads from the API server.
func Settle(
	ctx context.Context, w status.Writer, live client.Reader, repository *v1alpha1.Repository,
) (waits bool, err error) {
	if _, ok := repository.Annotations[v1alpha1.AnnotationDeparture]; !ok {
		return false, nil
	}
	if n, ok := noteOn(repository); ok {
		if n.uid == "" {
			return false, nil // a policy that uses the Repository takes it back
		}
		invoker := &metav1.PartialObjectMetadata{}
		invoker.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(n.kind))
		err := live.Get(ctx, client.ObjectKey{Namespace: repository.Namespace, Name: n.name}, invoker)
		if client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("get %s %s/%s: %w", n.kind, repository.Namespace, n.name, err)
		}
		if err == nil && string(invoker.UID) == n.uid {
			return true, nil
		}
	}
	return false, takeBack(ctx, w, repository)
}
