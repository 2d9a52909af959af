package restore

import (
	"context"
	"fmt"
	"maps"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/policy/check"
)

// addonReader reads Addons and Functions, which belong to the cluster. A user who is allowed to read only a namespace
// gets the built-in ones. The manager's cluster has the same unless somebody changed them there; then the manager
// refuses what does not fit.
type addonReader struct {
	api client.Client
}

func (a *addonReader) addon(ctx context.Context, name string) (*v1alpha1.Addon, error) {
	var out v1alpha1.Addon
	return &out, a.read(ctx, v1alpha1.AddonKind, name, &out)
}

func (a *addonReader) read(ctx context.Context, kind, name string, into client.Object) error {
	err := a.api.Get(ctx, client.ObjectKey{Name: name}, into)
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no %s %s", kind, name)
	case !apierrors.IsForbidden(err):
		return fmt.Errorf("get %s %s: %w", kind, name, err)
	}
	lookup, wrong := command.ReadCatalog()
	if wrong != nil {
		return wrong
	}
	found, ok := lookup(check.Reference{GroupKind: schema.GroupKind{Group: v1alpha1.Group, Kind: kind}, Name: name})
	if !ok {
		return fmt.Errorf("get %s %s: %w", kind, name, err)
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(found.UnstructuredContent(), into)
}

// complete adds the parameters to the Addon of a target and checks the result as the manager will. databases says
// whether the Addon also gets the parameters that are meant for all databases.
func (r *batchRestore) complete(ctx context.Context, name string, info *v1alpha1.AddonInfo, databases bool) error {
	addon, err := r.addons.addon(ctx, info.Name)
	if err != nil {
		return err
	}
	reference := &info.Tasks[0]
	if task := catalog.FindTask(addon, reference.Name, true); task != nil {
		params := catalog.Declared(task, reference.StringParams())
		if databases {
			for param, value := range catalog.Declared(task, r.databases) {
				params[param], r.taken[param] = value, true
			}
		}
		maps.Copy(params, r.params[name])
		reference.Params = catalog.NewParams(params)
	}
	mistakes := catalog.TaskMistakes("addon", addon, info, true)
	if target, known := r.targets[name]; known && len(mistakes) == 0 {
		functions := map[string]*v1alpha1.Function{}
		for _, function := range catalog.TaskFunctions(addon, info, true) {
			var f v1alpha1.Function
			if err := r.addons.read(ctx, v1alpha1.FunctionKind, function, &f); err != nil {
				return err
			}
			functions[function] = &f
		}
		mover := functions[catalog.MoverStep(catalog.FindTask(addon, reference.Name, true)).Name]
		if r.addon[name] == "" && target.AppRef.IsDatabase() && (mover.Spec.Stream == nil || catalog.Unpacks(mover)) {
			return command.Usagef(
				"target %s: its backup is restored into a PersistentVolumeClaim by the task %s: leave the target "+
					"out with --only and restore it by itself, or choose another session with --session",
				name, reference.Name)
		}
		mistakes = catalog.StreamMistakes("addon", addon, info, true, &target.AppRef,
			func(name string) *v1alpha1.Function {
				return functions[name]
			})
	}
	if len(mistakes) > 0 {
		return command.Usagef("target %s: %s", name, mistakes[0].Message)
	}
	return nil
}

// paramsOf returns the parameters of an Addon's task. info can be nil.
func paramsOf(info *v1alpha1.AddonInfo) *apiextensionsv1.JSON {
	if info == nil {
		return nil
	}
	return info.Tasks[0].Params
}
