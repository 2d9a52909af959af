package policysync

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
)

// The kinds of Namespaces and Secrets.
const (
	namespaceKind = "Namespace"
	secretKind    = "Secret"
)

// firstIn names the first of the objects that is in a Namespace, or returns "".
func firstIn(namespace string, refs []v1alpha1.ResourceRef) string {
	for _, ref := range refs {
		if id, _, err := kindOf(ref); err == nil && id.Namespace == namespace {
			return describe(ref)
		}
	}
	return ""
}

// nobody goes.
func nobody(string) bool { return false }

// mayDelete reports whether this PolicySync is allowed to delete an object. Without an account it deletes only what it
// would apply: the manager's rights must not serve whoever can change a PolicySync.
func (a *applier) mayDelete(namespace string, ref v1alpha1.ResourceRef) bool {
	id, _, err := kindOf(ref)
	return err == nil && (a.obj.Spec.ServiceAccountName != "" ||
		namespace == a.obj.Namespace && build.Confined(id.GroupKind))
}

// users names, for the objects that data in a backend depends on, the first object that needs them. passwords are the
// Secrets that Repositories are encrypted with; they are among the secrets, too.
type users struct {
	storages, secrets, passwords, repositories map[types.NamespacedName]string
}

// usersOf lists what needs the objects of one class. Users that go count for nothing.
func (a *applier) usersOf(
	ctx context.Context, refs []v1alpha1.ResourceRef, goes func(user string) bool,
) (users, error) {
	repositories := ofClass(refs, classOf(v1alpha1.RepositoryKind))
	if len(repositories) == 0 {
		return a.needed(ctx, goes)
	}
	out := users{repositories: map[types.NamespacedName]string{}}
	looked := map[string]bool{}
	for _, ref := range repositories {
		id, _, err := kindOf(ref)
		if err != nil || looked[id.Namespace] {
			continue
		}
		looked[id.Namespace] = true
		if err := a.choosers(ctx, id.Namespace, goes, out.repositories); err != nil {
			return users{}, err
		}
	}
	return out, nil
}

// choosers adds to out which policy of a namespace names its Repositories. A BackupConfiguration that belongs to a
// BackupBatch goes with it.
func (a *applier) choosers(
	ctx context.Context, namespace string, goes func(user string) bool, out map[types.NamespacedName]string,
) error {
	choose := func(by policy.Invoker, chosen []policy.ChosenRepository) {
		user := by.Kind + " " + namespace + "/" + by.Name
		for _, c := range chosen {
			k := types.NamespacedName{Namespace: namespace, Name: c.Name}
			if (out[k] == "" || user < out[k]) && !goes(user) {
				out[k] = user
			}
		}
	}
	batches := map[string]bool{}
	err := read.Pages(ctx, a.APIReader, func(page *v1alpha1.BackupBatchList) error {
		for i := range page.Items {
			if b := &page.Items[i]; a.counts(v1alpha1.BackupBatchKind, b) {
				batches[b.Name] = true
				choose(policy.Invoker{Kind: v1alpha1.BackupBatchKind, Name: b.Name},
					policy.BatchRepositories(b, policy.KnownTargets(b)))
			}
		}
		return nil
	}, client.InNamespace(namespace))
	if err != nil {
		return fmt.Errorf("list BackupBatches: %w", err)
	}
	err = read.Pages(ctx, a.APIReader, func(page *v1alpha1.BackupConfigurationList) error {
		for i := range page.Items {
			c := &page.Items[i]
			by := policy.InvokerOf(c)
			goes := by.Kind == v1alpha1.BackupBatchKind && !batches[by.Name] // with its batch
			if a.counts(v1alpha1.BackupConfigurationKind, c) && !goes {
				choose(by, policy.ConfigurationRepositories(c))
			}
		}
		return nil
	}, client.InNamespace(namespace))
	if err != nil {
		return fmt.Errorf("list BackupConfigurations: %w", err)
	}
	return nil
}

// counts reports whether policy counts as a user: it is in force, or it is being deleted and Cairn makes it again.
func (a *applier) counts(kind string, o client.Object) bool {
	return v1alpha1.InForce(o) || a.going[key{v1alpha1.GroupVersion.WithKind(kind), client.ObjectKeyFromObject(o)}]
}

// needed lists what needs storages and Secrets. A Repository needs its storage and its password, and a BackupStorage
// its credentials, whoever made them. Users that go count for nothing.
func (a *applier) needed(ctx context.Context, goes func(user string) bool) (users, error) {
	out := users{
		storages: map[types.NamespacedName]string{}, secrets: map[types.NamespacedName]string{},
		passwords: map[types.NamespacedName]string{},
	}
	first := func(of map[types.NamespacedName]string, key types.NamespacedName, user string) {
		if key.Name != "" && (of[key] == "" || user < of[key]) && !goes(user) {
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

// find returns an object to delete, or why it is kept. An object that is gone, or that somebody else took over, is
// neither deleted nor kept.
func (a *applier) find(
	ctx context.Context, ref v1alpha1.ResourceRef, needed func() (users, error), left []v1alpha1.ResourceRef,
) (u *unstructured.Unstructured, why string, err error) {
	id, gvk, err := kindOf(ref)
	if err != nil {
		return nil, "", fmt.Errorf("read inventory: %w", err)
	}
	if !a.mayDelete(id.Namespace, ref) { // it was applied as an account
		return nil, "set spec.serviceAccountName to an account that is allowed to delete it", nil
	}
	u = &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	if err := a.client.Get(ctx, types.NamespacedName{Namespace: id.Namespace, Name: id.Name}, u); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, "", nil
		}
		return nil, "", fmt.Errorf("get %s: %w", describe(ref), err)
	}
	by, err := a.otherOwner(ctx, u)
	if err != nil || by != "" || !a.owns(u) || u.GetUID() == a.obj.UID { // the last: this PolicySync
		return nil, "", err
	}
	if why, err := a.whyKept(u, needed, left); err != nil || why != "" {
		return nil, why, err
	}
	return u, "", nil
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
	if !isRepository(u) && u.GetKind() != v1alpha1.BackupStorageKind && u.GetKind() != secretKind {
		return "", nil
	}
	of, err := needed()
	if err != nil {
		return "", err
	}
	user := of.storages[client.ObjectKeyFromObject(u)]
	switch u.GetKind() {
	case v1alpha1.RepositoryKind:
		user = of.repositories[client.ObjectKeyFromObject(u)]
	case secretKind:
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
