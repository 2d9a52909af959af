package browse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/backend"
	"github.com/cairn-backup/cairn/internal/backend/layout"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// backendReader opens repositories from this machine, with the objects and Secrets that the user is allowed to read
// in the cluster. It writes nothing to a repository and no credential to this machine's disk.
type backendReader struct {
	api       client.Client
	namespace string
	// endpoint replaces the endpoint of an S3 storage whose own name only the cluster resolves.
	endpoint string
}

// snapshot reads a Snapshot and returns it with the engine's id of one of its components.
func (b backendReader) snapshot(ctx context.Context, name, component string) (*v1alpha1.Snapshot, string, error) {
	var snap v1alpha1.Snapshot
	if err := b.get(ctx, "Snapshot", client.ObjectKey{Namespace: b.namespace, Name: name}, &snap); err != nil {
		return nil, "", err
	}
	have := slices.Sorted(maps.Keys(snap.Status.Components))
	switch {
	case component == "" && len(have) == 1:
		component = have[0]
	case component == "":
		return nil, "",
			command.Usagef("Snapshot %s has several components: choose one of them with --component: %s", name,
				strings.Join(have, ", "))
	case !slices.Contains(have, component):
		return nil, "",
			fmt.Errorf("Snapshot %s has no component %s: it has %s", name, component, strings.Join(have, ", "))
	}
	id := snap.Status.Components[component].ID
	if id == "" {
		return nil, "", fmt.Errorf("component %s of Snapshot %s has no data", component, name)
	}
	return &snap, id, nil
}

// open connects to the repository of a Snapshot. The caller must call the returned function in the end.
func (b backendReader) open(ctx context.Context, snap *v1alpha1.Snapshot) (repository.Engine, func(), error) {
	var repo v1alpha1.Repository
	if err := b.get(ctx, "Repository", client.ObjectKey{Namespace: b.namespace, Name: snap.Spec.Repository},
		&repo); err != nil {
		return nil, nil, err
	}
	if policy.HoldsVolumeSnapshots(&repo) {
		return nil, nil, fmt.Errorf("Snapshot %s is made of VolumeSnapshots, which only the storage system can read: "+
			"restore it into new volumes with \"cairn restore\" and look at them", snap.Name)
	}
	storage, err := b.storage(ctx, repo.Spec.StorageRef)
	if err != nil {
		return nil, nil, err
	}
	password, err := b.password(ctx, repo.Spec.EncryptionSecret)
	if err != nil {
		return nil, nil, err
	}
	directory, err := layout.NormalizeDirectory(repo.Spec.Path)
	if err != nil {
		return nil, nil, err
	}
	work, err := os.MkdirTemp("", "cairn-")
	if err != nil {
		return nil, nil, err
	}
	engine, err := kopia.Driver{}.Open(ctx, repository.Repository{
		Storage: storage.Sub(strings.TrimSuffix(layout.EnginePath(directory), "/")), Password: password, WorkDir: work,
		ReadOnly: true,
	})
	if err != nil {
		_ = os.RemoveAll(work)
		return nil, nil, b.unopened(repo.Name, err)
	}
	return engine, func() {
		_ = engine.Close(context.WithoutCancel(ctx))
		_ = os.RemoveAll(work)
	}, nil
}

// unopened explains why a repository can't be opened, and what to do.
func (b backendReader) unopened(name string, err error) error {
	if errors.Is(err, repository.ErrUnreachable) && b.endpoint == "" {
		return fmt.Errorf("open repository %s: %v: %s", name, err, //nolint:errorlint // see asStorageError
			"if only the cluster reaches the storage, start a port-forward and pass its address with --endpoint")
	}
	return fmt.Errorf("open repository %s: %v", name, err) //nolint:errorlint // see asStorageError
}

// asStorageError hides the type of a storage's error. Otherwise the function explain reports a failed connection to the
// cluster.
func asStorageError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return errors.New(err.Error())
}

// storage returns the storage with its credentials.
func (b backendReader) storage(ctx context.Context, ref v1alpha1.ObjectReference) (repository.Storage, error) {
	key := ref.In(b.namespace)
	var object v1alpha1.BackupStorage
	if err := b.get(ctx, "BackupStorage", key, &object); err != nil {
		return repository.Storage{}, err
	}
	spec := *object.Spec.Storage.DeepCopy()
	if spec.Local != nil {
		return repository.Storage{},
			fmt.Errorf("BackupStorage %s is a volume in the cluster, which this machine can't "+
				"read: restore what you need into a new claim with \"cairn restore --new-claim\"", key)
	}
	if b.endpoint != "" {
		if spec.S3 == nil {
			return repository.Storage{},
				command.Usagef("--endpoint needs an S3 storage: BackupStorage %s is of another kind", key)
		}
		spec.S3.Endpoint = b.endpoint
	}
	data := map[string][]byte{}
	if secret := policy.SecretOf(spec); secret.Name != "" {
		var s corev1.Secret
		if err := b.get(ctx, "Secret", client.ObjectKey{Namespace: key.Namespace, Name: secret.Name}, &s); err != nil {
			return repository.Storage{}, err
		}
		data = s.Data
		if missing := secret.Missing(func(k string) int { return len(data[k]) }); missing != "" {
			return repository.Storage{}, fmt.Errorf("Secret %s/%s lacks %s", key.Namespace, secret.Name, missing)
		}
	}
	return backend.FromSpec(spec, "", egress.Anywhere(), func(k string) (string, error) {
		return strings.TrimSpace(string(data[k])), nil
	})
}

// password reads the password of the repository.
func (b backendReader) password(ctx context.Context, ref v1alpha1.ObjectReference) (string, error) {
	key := ref.In(b.namespace)
	var s corev1.Secret
	if err := b.get(ctx, "Secret", key, &s); err != nil {
		return "", err
	}
	_, password := policy.PasswordOf(func(k string) string { return string(s.Data[k]) })
	if password == "" {
		return "", fmt.Errorf("encryption Secret %s %s", key, policy.NoPassword)
	}
	return password, nil
}

// get reads an object. If the object does not exist, the error names its kind, name and namespace.
func (b backendReader) get(ctx context.Context, kind string, key client.ObjectKey, o client.Object) error {
	err := b.api.Get(ctx, key, o)
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no %s %s in namespace %s", kind, key.Name, key.Namespace)
	}
	if err != nil {
		return fmt.Errorf("get %s %s: %w", kind, key, err)
	}
	return nil
}
