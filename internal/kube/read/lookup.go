// Package read looks up what runs and restores refer to: policy revisions, Addons, Functions, HookTemplates,
// databases, volumes and events. Its functions read with the Reader that they get. A FallbackReader asks the API server
// before it reports that something is missing. The package keeps no state and is safe for concurrent use.
package read

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

// Get reads an object whose name a user wrote. A name that can't be part of a request is reported as not found;
// otherwise the error would be retried for ever.
func Get(ctx context.Context, c client.Reader, key client.ObjectKey, o client.Object) error {
	if len(content.IsPathSegmentName(key.Name)) > 0 {
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	return c.Get(ctx, key, o)
}

// FallbackReader is a Reader that reads an object past the cache if the cache does not have it. A session ends at once,
// and data is left alone, when an object does not exist, so that must be certain: both may have been applied together.
type FallbackReader struct {
	client.Reader
	// Live reads past the cache.
	Live client.Reader
}

// Get reads the object from the cache, or past it if the cache does not have it.
func (s FallbackReader) Get(
	ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption,
) error {
	err := s.Reader.Get(ctx, key, o, opts...)
	if apierrors.IsNotFound(err) {
		return s.Live.Get(ctx, key, o, opts...)
	}
	return err
}

// Policy returns the PolicySync that applied an object with these labels, its revision, and who has signed that. The
// PolicySync is nil if there is none or it no longer exists.
func Policy(
	ctx context.Context, c client.Reader, labels map[string]string,
) (v1alpha1.ResolvedPolicy, *v1alpha1.PolicySync, error) {
	var out v1alpha1.ResolvedPolicy
	key := client.ObjectKey{Namespace: labels[v1alpha1.LabelSyncNamespace], Name: labels[v1alpha1.LabelSyncName]}
	if key.Name == "" || key.Namespace == "" {
		return out, nil, nil
	}
	out.Source = "PolicySync/" + key.Namespace + "/" + key.Name
	var sync v1alpha1.PolicySync
	if err := c.Get(ctx, key, &sync); apierrors.IsNotFound(err) {
		return out, nil, nil
	} else if err != nil {
		return out, nil, fmt.Errorf("get PolicySync %s: %w", key, err)
	}
	out.Revision, out.Signer = sync.Status.LastAppliedRevision, sync.Status.LastAppliedSigner
	return out, &sync, nil
}

// Task resolves the Addon, task and Function of a backup and returns the task with its parameters: see catalog.Resolve.
func Task(
	ctx context.Context, c client.Reader, info v1alpha1.AddonInfo, vars catalog.Variables,
) (v1alpha1.ResolvedTask, map[string]string, *v1alpha1.ResolvedError, error) {
	addon, err := readAddon(ctx, c, info)
	if err != nil {
		return v1alpha1.ResolvedTask{}, nil, nil, err
	}
	resolved, params, refusal := catalog.Resolve(addon.addon, addon.function, info, false, vars)
	return resolved, params, refusal, addon.err
}

// RestoreTask resolves the task of a restore into volumes, as Task does for a backup. The stream is the program that
// creates the files there, nil where the mover does it.
func RestoreTask(
	ctx context.Context, c client.Reader, info v1alpha1.AddonInfo, vars catalog.Variables,
) (v1alpha1.ResolvedTask, *v1alpha1.ResolvedStream, *v1alpha1.ResolvedError, error) {
	addon, err := readAddon(ctx, c, info)
	if err != nil {
		return v1alpha1.ResolvedTask{}, nil, nil, err
	}
	resolved, _, refusal := catalog.Resolve(addon.addon, addon.function, info, true, vars)
	if refusal != nil || addon.err != nil {
		return resolved, nil, refusal, addon.err
	}
	unpacker, refusal := catalog.Unpacker(addon.addon, addon.function, info, vars)
	return resolved, unpacker, refusal, nil
}

// addonCatalog is an Addon and the Functions that it names. Functions are read on demand, each once.
type addonCatalog struct {
	addon    *v1alpha1.Addon
	function catalog.FunctionLookup
	// err is the first error from reading a Function. If it is set, results made from the Functions are meaningless.
	err error
}

func readAddon(ctx context.Context, c client.Reader, info v1alpha1.AddonInfo) (*addonCatalog, error) {
	out := &addonCatalog{addon: &v1alpha1.Addon{}}
	if err := c.Get(ctx, client.ObjectKey{Name: info.Name}, out.addon); apierrors.IsNotFound(err) {
		out.addon = nil
	} else if err != nil {
		return nil, fmt.Errorf("get Addon %s: %w", info.Name, err)
	}
	read := map[string]*v1alpha1.Function{}
	out.function = func(name string) *v1alpha1.Function {
		if f, ok := read[name]; ok {
			return f
		}
		f := &v1alpha1.Function{}
		if err := c.Get(ctx, client.ObjectKey{Name: name}, f); err != nil {
			if client.IgnoreNotFound(err) != nil {
				out.err = fmt.Errorf("get Function %s: %w", name, err)
			}
			f = nil
		}
		read[name] = f
		return f
	}
	return out, nil
}

// Executor returns what runs a task: see catalog.Executor. Empty means a Job.
func Executor(
	ctx context.Context, c client.Reader, said v1alpha1.Executor, info v1alpha1.AddonInfo, restore bool,
) (v1alpha1.Executor, error) {
	addon := &v1alpha1.Addon{}
	if err := c.Get(ctx, client.ObjectKey{Name: info.Name}, addon); apierrors.IsNotFound(err) {
		addon = nil
	} else if err != nil {
		return "", fmt.Errorf("get Addon %s: %w", info.Name, err)
	}
	if catalog.Executor(said, addon, &info, restore) == v1alpha1.ExecutorSidecar {
		return v1alpha1.ExecutorSidecar, nil
	}
	return "", nil
}
