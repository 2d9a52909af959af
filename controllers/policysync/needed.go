package policysync

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
	"github.com/cairn-backup/cairn/internal/policy"
)

// The kinds of Namespaces and Secrets.
const (
	namespaceKind = "Namespace"
	secretKind    = "Secret"
)

// takesAlong reports whether the deletion of one of these objects takes more along than the object: a Namespace takes
// what is in it, deletionPolicy: WipeOut takes backups, and a PolicySync can take what it has applied. An object that
// moves to the path of another PolicySync is stale for the first one before it belongs to the second. A Namespace with
// something that stays is not deleted.
func (a *applier) takesAlong(ctx context.Context, stale []v1alpha1.ResourceRef) (bool, error) {
	var found atomic.Bool
	var g errgroup.Group
	g.SetLimit(concurrency)
	for _, ref := range stale {
		id, gvk, err := kindOf(ref)
		if err != nil || gvk.Kind != namespaceKind && gvk.Group != v1alpha1.Group || !a.mayDelete(id.Namespace, ref) ||
			gvk.Kind == namespaceKind && firstIn(id.Name, a.stays) != "" {
			continue
		}
		g.Go(func() error {
			if found.Load() {
				return nil
			}
			u := &unstructured.Unstructured{}
			u.SetGroupVersionKind(gvk)
			err := a.client.Get(ctx, types.NamespacedName{Namespace: id.Namespace, Name: id.Name}, u)
			switch {
			case apierrors.IsNotFound(err):
				return nil
			case apierrors.IsForbidden(err): // nobody knows, and the rest of the revision does not wait
				found.Store(true)
				return nil
			case err != nil:
				return fmt.Errorf("get %s: %w", describe(ref), err)
			case u.GetDeletionTimestamp() != nil || !a.owns(u) || u.GetUID() == a.obj.UID:
				return nil
			}
			if gvk.Kind == namespaceKind || wipes(u.Object["spec"]) || prunesAll(u) {
				found.Store(true)
			}
			return nil
		})
	}
	err := g.Wait()
	return found.Load(), err
}

// firstIn names the first of the objects that is in a Namespace, or returns "".
func firstIn(namespace string, refs []v1alpha1.ResourceRef) string {
	for _, ref := range refs {
		if id, _, err := kindOf(ref); err == nil && id.Namespace == namespace {
			return describe(ref)
		}
	}
	return ""
}

// mayDelete reports whether this PolicySync is allowed to delete an object. Without an account it deletes only what it
// would apply: the manager's rights must not serve whoever can change a PolicySync.
func (a *applier) mayDelete(namespace string, ref v1alpha1.ResourceRef) bool {
	id, _, err := kindOf(ref)
	return err == nil && (a.obj.Spec.ServiceAccountName != "" ||
		namespace == a.obj.Namespace && build.Confined(id.GroupKind))
}

// prunesAll reports whether an object is a PolicySync that deletes everything that it has applied when it goes.
func prunesAll(u *unstructured.Unstructured) bool {
	policy, _, _ := unstructured.NestedString(u.Object, "spec", "deletionPolicy")
	return u.GetKind() == v1alpha1.PolicySyncKind && policy == v1alpha1.DeletionPolicyDelete
}

// wipes reports whether a value of a spec holds deletionPolicy: WipeOut, at any depth.
func wipes(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			if name == "deletionPolicy" && field == string(v1alpha1.WipeOut) || wipes(field) {
				return true
			}
		}
	case []any:
		for _, item := range v {
			if wipes(item) {
				return true
			}
		}
	}
	return false
}

// users names, for the objects that data in a backend depends on, the first object that needs them. passwords are the
// Secrets that Repositories are encrypted with; they are among the secrets, too.
type users struct {
	storages, secrets, passwords map[types.NamespacedName]string
}

// needed lists what needs storages and Secrets. A Repository needs its storage and its password, and a BackupStorage
// its credentials, whoever made them.
func (a *applier) needed(ctx context.Context) (users, error) {
	out := users{
		storages: map[types.NamespacedName]string{}, secrets: map[types.NamespacedName]string{},
		passwords: map[types.NamespacedName]string{},
	}
	first := func(of map[types.NamespacedName]string, key types.NamespacedName, user string) {
		if key.Name != "" && (of[key] == "" || user < of[key]) {
			of[key] = user
		}
	}
	var repositories v1alpha1.RepositoryList
	if err := a.APIReader.List(ctx, &repositories); err != nil {
		return users{}, fmt.Errorf("list Repositories: %w", err)
	}
	for _, r := range repositories.Items {
		if policy.HoldsVolumeSnapshots(&r) {
			continue
		}
		name := "Repository " + r.Namespace + "/" + r.Name
		needs := func(of map[types.NamespacedName]string, key types.NamespacedName) {
			// Anybody can name an object of another namespace. This Repository has no data yet.
			if key.Namespace == r.Namespace || r.Status.InitializedSpec != "" {
				first(of, key, name)
			}
		}
		needs(out.storages, r.Spec.StorageRef.In(r.Namespace))
		needs(out.secrets, r.Spec.EncryptionSecret.In(r.Namespace))
		needs(out.passwords, r.Spec.EncryptionSecret.In(r.Namespace))
	}
	var storages v1alpha1.BackupStorageList
	if err := a.APIReader.List(ctx, &storages); err != nil {
		return users{}, fmt.Errorf("list BackupStorages: %w", err)
	}
	for _, s := range storages.Items {
		secrets := []string{policy.SecretOf(s.Spec.Storage).Name, s.Spec.MaintenanceSecretName}
		if s.Spec.EncryptionSecret != nil {
			secrets = append(secrets, s.Spec.EncryptionSecret.Name)
		}
		for _, secret := range secrets {
			first(out.secrets, client.ObjectKey{Namespace: s.Namespace, Name: secret},
				"BackupStorage "+s.Namespace+"/"+s.Name)
		}
	}
	return out, nil
}

// whyKept returns why an object stays because others need it, or can, or "". left are the objects that stay.
func (a *applier) whyKept(
	u *unstructured.Unstructured, needed func() (users, error), left []v1alpha1.ResourceRef,
) (string, error) {
	if u.GetKind() == namespaceKind {
		if inside := firstIn(u.GetName(), left); inside != "" {
			return inside + " stays in it", nil
		}
		return "", nil
	}
	if u.GetKind() != v1alpha1.BackupStorageKind && u.GetKind() != secretKind {
		return "", nil
	}
	of, err := needed()
	if err != nil {
		return "", err
	}
	user := of.storages[client.ObjectKeyFromObject(u)]
	if u.GetKind() == secretKind {
		user = of.secrets[client.ObjectKeyFromObject(u)]
	}
	switch {
	case user != "":
		return user + " uses it", nil
	case u.GetKind() == secretKind:
		return onlyCopy(u)
	}
	return "", nil
}

// onlyCopy returns why a Secret stays that nobody uses, or "". Values that no PolicySync has applied can be the only
// copy of the password of data that outlives its Repository. Kubernetes makes the token of an account by itself.
func onlyCopy(secret *unstructured.Unstructured) (string, error) {
	made, _, _ := unstructured.NestedString(secret.Object, "type")
	if made == string(corev1.SecretTypeServiceAccountToken) {
		return "", nil
	}
	others, err := othersOf(secret, slices.Sorted(maps.Keys(dataOf(secret))))
	if err != nil || len(others) == 0 {
		return "", err
	}
	return "no PolicySync has applied the values of " + strings.Join(others, ", ") +
		" in it: delete it by hand if nobody needs them any more", nil
}
