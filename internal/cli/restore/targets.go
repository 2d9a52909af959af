package restore

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/check"
)

// batchRestore collects what is known of the targets of a RestoreBatch that is being made.
type batchRestore struct {
	addons *addonReader
	// batch is the policy. It is nil if the policy is gone and --only names the targets.
	batch   *v1alpha1.BackupBatch
	session string
	targets map[string]policy.Target
	// addon, confirm, user and params hold what the flags say of single targets; databases holds the parameters for all
	// databases.
	addon, confirm, user map[string]string
	params               map[string]map[string]string
	databases            map[string]string
	// taken holds the parameters of databases that at least one target takes.
	taken map[string]bool
}

// targets returns the targets of the BackupBatch, or those that --only names. Databases get the Addon and the
// parameters of the policy.
func (f *batchFlags) targets(ctx context.Context, addons *addonReader, key client.ObjectKey, common *restoreFlags) (
	[]v1alpha1.RestoreBatchTarget, error,
) {
	r := batchRestore{addons: addons, session: f.session, targets: map[string]policy.Target{}, taken: map[string]bool{}}
	names := slices.Clone(f.only)
	var err error
	if r.batch, err = readBatch(ctx, addons.api, key, len(names) > 0); err != nil {
		return nil, err
	}
	if r.batch != nil {
		for _, t := range policy.KnownTargets(r.batch) {
			r.targets[t.Name] = t
			if len(f.only) == 0 {
				names = append(names, t.Name)
			}
		}
	}
	if err := r.read(common, names); err != nil {
		return nil, err
	}
	var out []v1alpha1.RestoreBatchTarget
	for _, name := range names {
		target := v1alpha1.RestoreBatchTarget{Name: name, Confirm: r.confirm[name]}
		t, known := r.targets[name]
		target.Verify = common.verify && !(known && t.AppRef.IsDatabase())
		if target.Addon, err = r.addonOf(ctx, name); err != nil {
			return nil, err
		}
		out = append(out, target)
	}
	for _, param := range slices.Sorted(maps.Keys(r.databases)) {
		if !r.taken[param] {
			return nil, command.Usagef(
				"invalid --param %s: no restored database takes it. For one target write TARGET/%s", param, param)
		}
	}
	return out, nil
}

// readBatch reads the policy. If it is optional and is gone or must not be read, readBatch returns nil.
func readBatch(ctx context.Context, api client.Client, key client.ObjectKey, optional bool) (
	*v1alpha1.BackupBatch, error,
) {
	var batch v1alpha1.BackupBatch
	err := api.Get(ctx, key, &batch)
	switch {
	case err == nil:
		return &batch, nil
	case optional && (apierrors.IsNotFound(err) || apierrors.IsForbidden(err)):
		return nil, nil
	case apierrors.IsNotFound(err):
		return nil,
			fmt.Errorf("there is no BackupBatch %s in namespace %s: correct the name, or, if it was deleted, name its "+
				"targets with --only", key.Name, key.Namespace)
	default:
		return nil, fmt.Errorf("get BackupBatch %s: %w", key.Name, err)
	}
}

// read parses the flags that name a target.
func (r *batchRestore) read(common *restoreFlags, names []string) error {
	var err error
	if r.addon, err = valuesByTarget("addon", common.addons, names); err != nil {
		return err
	}
	if r.confirm, err = valuesByTarget("confirm", common.confirms, names); err != nil {
		return err
	}
	if r.user, err = valuesByTarget("run-as-user", common.users, names); err != nil {
		return err
	}
	r.params, r.databases = map[string]map[string]string{}, map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(common.params)) {
		target, param, found := strings.Cut(key, "/")
		switch {
		case !found:
			r.databases[key] = common.params[key]
		case !slices.Contains(names, target):
			return command.Usagef("invalid --param %s: target %q is not restored", key, target)
		default:
			if r.params[target] == nil {
				r.params[target] = map[string]string{}
			}
			r.params[target][param] = common.params[key]
		}
	}
	return nil
}

// valuesByTarget parses the values of a flag, each TARGET/VALUE, into a map by target.
func valuesByTarget(flag string, values, names []string) (map[string]string, error) {
	out := map[string]string{}
	for _, v := range values {
		target, value, found := strings.Cut(v, "/")
		switch {
		case !found || value == "":
			return nil, command.Usagef("invalid --%s %s: with --batch write TARGET/%s", flag, v, v)
		case !slices.Contains(names, target):
			return nil, command.Usagef("invalid --%s %s: target %q is not restored", flag, v, target)
		case out[target] != "":
			return nil, command.Usagef("--%s is given twice for target %q", flag, target)
		}
		out[target] = value
	}
	return out, nil
}

// addonOf returns the Addon of a target. It is nil if the default applies.
func (r *batchRestore) addonOf(ctx context.Context, name string) (*v1alpha1.AddonInfo, error) {
	target, known := r.targets[name]
	database := known && target.AppRef.IsDatabase()
	info, err := r.ofPolicy(ctx, &target, database)
	if err != nil {
		return nil, err
	}
	inferred := ""
	if known {
		inferred = catalog.InferredAddon(target.AppRef)
	}
	plain := len(r.params[name]) == 0 && r.user[name] == "" // nothing that only an Addon takes
	switch asked := r.addon[name]; {
	case asked != "" && (info == nil || info.Name != asked):
		info = &v1alpha1.AddonInfo{
			Name:  asked,
			Tasks: []v1alpha1.TaskReference{{Name: catalog.RestoreTask, Params: paramsOf(info)}},
		}
	case info == nil && database && catalog.RevealsDatabaseType(target.AppRef) && plain && len(r.databases) == 0:
		return nil, nil // The controller infers it in the cluster.
	case info == nil && database && inferred == "":
		return nil, command.Usagef("target %s: %s: pass --addon %s/ADDON", name, whichAddon(target.AppRef), name)
	case info == nil && inferred == "" && !plain:
		return nil, command.Usagef("target %s: no policy says which Addon takes --param and --run-as-user: pass "+
			"--addon %[1]s/ADDON", name)
	case info == nil && plain && (!database || len(r.databases) == 0):
		return nil, nil
	case info == nil:
		info = &v1alpha1.AddonInfo{Name: inferred, Tasks: []v1alpha1.TaskReference{{Name: catalog.RestoreTask}}}
	}
	if user := r.user[name]; user != "" {
		if err := asUser(info, user); err != nil {
			return nil, err
		}
	}
	return info, r.complete(ctx, name, info, database || !known)
}

// ofPolicy returns the Addon that restores the backups which the sessions of the policy make of a database. It is nil
// if the sessions name none.
func (r *batchRestore) ofPolicy(ctx context.Context, target *policy.Target, database bool) (
	*v1alpha1.AddonInfo, error,
) {
	if !database {
		return nil, nil
	}
	var out *v1alpha1.AddonInfo
	first := ""
	for i := range r.batch.Spec.Sessions {
		s := &r.batch.Spec.Sessions[i]
		at := slices.IndexFunc(s.Targets, func(t v1alpha1.BatchSessionTarget) bool { return t.Name == target.Entry() })
		if at < 0 || r.session != "" && s.Name != r.session {
			continue
		}
		backup := check.AddonOrInferred(s.Targets[at].Addon, target.AppRef)
		if backup == nil {
			continue
		}
		addon, err := r.addons.addon(ctx, backup.Name)
		if err != nil {
			return nil, err
		}
		info, err := catalog.RestoreAddon(addon, backup)
		switch {
		case err != nil && r.addon[target.Name] != "":
			continue
		case err != nil:
			return nil, command.Usagef("target %s: %s: pass --addon %s/ADDON, or leave the target out with --only",
				target.Name, err,
				target.Name)
		case out != nil && !sameAddon(out, info):
			return nil,
				command.Usagef("target %s: sessions %s and %s back it up in different ways: choose one with --session",
					target.Name, first, s.Name)
		}
		out, first = info, s.Name
	}
	return out, nil
}

func sameAddon(a, b *v1alpha1.AddonInfo) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
