package read

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/retention"
)

// WhyKept returns why the data of a deleted object stays whatever its deletionPolicy is: somebody gave up the removal,
// or something takes the object along. It reads from the API server.
func WhyKept(ctx context.Context, live client.Reader, o client.Object) (retention.Kept, error) {
	return WhyKeptBy(ctx, live, o, func(ctx context.Context) (bool, error) { return KindGoes(ctx, live, o) })
}

// WhyKeptBy does the same as WhyKept, and asks goes whether the kind of the object goes: see KindGoes.
func WhyKeptBy(
	ctx context.Context, live client.Reader, o client.Object, goes func(context.Context) (bool, error),
) (retention.Kept, error) {
	if retention.IsGivenUp(o) {
		return retention.GivenUp, nil
	}
	why, _, err := takenAlong(ctx, live, o, func() (bool, time.Time, error) {
		kind, err := goes(ctx)
		return kind, time.Time{}, err
	})
	return why, err
}

// TakenAlong returns what takes a deleted object along, and since when: its namespace, or the CustomResourceDefinition
// of its kind, is being deleted. If that is gone, since is zero. It returns "" if neither goes: then the deletion was
// meant for the object. The API server begins with the namespace or definition, so an object that one of them takes
// along is never seen before that. It reads from the API server, and the definition only if the namespace stays.
func TakenAlong(
	ctx context.Context, live client.Reader, o client.Object,
) (why retention.Kept, since time.Time, err error) {
	return takenAlong(ctx, live, o, func() (bool, time.Time, error) { return kindGoes(ctx, live, o) })
}

func takenAlong(
	ctx context.Context, live client.Reader, o client.Object, kindGoes func() (bool, time.Time, error),
) (why retention.Kept, since time.Time, err error) {
	why = retention.NamespaceGoes
	goes, since, err := going(ctx, live, "Namespace", o.GetNamespace(), &corev1.Namespace{})
	if err == nil && !goes {
		why = retention.KindGoes
		goes, since, err = kindGoes()
	}
	if err != nil || !goes {
		return "", time.Time{}, err
	}
	return why, since, nil
}

// KindGoes reports whether the CustomResourceDefinition of an object's kind is being deleted, or gone. If it stays, the
// definition takes along no object that was being deleted before the call. It reads from the API server.
func KindGoes(ctx context.Context, live client.Reader, o client.Object) (bool, error) {
	goes, _, err := kindGoes(ctx, live, o)
	return goes, err
}

// KindGone reports whether the CustomResourceDefinition of an object's kind is gone, so that no such object exists. A
// list of them that is not found does not prove it. It reads from the API server.
func KindGone(ctx context.Context, live client.Reader, o client.Object) (bool, error) {
	goes, since, err := kindGoes(ctx, live, o)
	return goes && since.IsZero(), err
}

func kindGoes(ctx context.Context, live client.Reader, o client.Object) (goes bool, since time.Time, err error) {
	name, err := definitionOf(o)
	if err != nil {
		return false, time.Time{}, err
	}
	definition := &metav1.PartialObjectMetadata{}
	definition.SetGroupVersionKind(definitions)
	return going(ctx, live, definitions.Kind, name, definition)
}

// definitions is the kind of CustomResourceDefinitions. Only their metadata is read.
var definitions = schema.GroupVersionKind{
	Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition",
}

// definitionOf returns the name of the CustomResourceDefinition of an object. The manager's role lets it get these.
func definitionOf(o client.Object) (string, error) {
	var plural string
	switch o.(type) {
	case *v1alpha1.BackupBatch:
		plural = "backupbatches"
	case *v1alpha1.BackupConfiguration:
		plural = "backupconfigurations"
	case *v1alpha1.BackupStorage:
		plural = "backupstorages"
	case *v1alpha1.Ledger:
		plural = "ledgers"
	case *v1alpha1.PolicySync:
		plural = "policysyncs"
	case *v1alpha1.Repository:
		plural = "repositories"
	case *v1alpha1.Snapshot:
		plural = "snapshots"
	default:
		return "", fmt.Errorf("find the CustomResourceDefinition of %T: it is not known", o)
	}
	return plural + "." + v1alpha1.Group, nil
}

// going reports whether an object of the cluster is being deleted, and since when, or is gone. The answer NotFound of a
// proxy before the API server proves nothing.
func going(
	ctx context.Context, live client.Reader, kind, name string, into client.Object,
) (goes bool, since time.Time, _ error) {
	err := live.Get(ctx, client.ObjectKey{Name: name}, into)
	switch {
	case apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse):
		return true, time.Time{}, nil
	case err != nil:
		return false, time.Time{}, fmt.Errorf("get %s %s: %w", kind, name, err)
	case into.GetDeletionTimestamp().IsZero():
		return false, time.Time{}, nil
	}
	return true, into.GetDeletionTimestamp().Time, nil
}
