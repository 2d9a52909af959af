package restore

import (
	"cmp"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/repository"
)

// spec returns the spec of the RestoreSession. withUser is true if --run-as-user was given.
func (f *restoreFlags) spec(withUser bool) (v1alpha1.RestoreSessionSpec, error) {
	var spec v1alpha1.RestoreSessionSpec
	if err := f.checkVolumes(withUser); err != nil {
		return spec, err
	}
	source := &v1alpha1.RestoreDataSource{
		Namespace: f.fromNamespace, Repository: f.repository, Snapshot: f.snapshot,
		Components: f.components, AllowDamaged: f.allowDamaged,
	}
	switch {
	case f.at != "":
		at, err := time.Parse(time.RFC3339, f.at)
		if err != nil {
			return spec, command.Usagef("invalid --at %s: write a time like 2026-11-19T20:00:00Z", f.at)
		}
		source.PITR = &v1alpha1.PITR{TargetTime: &metav1.Time{Time: at.UTC()}}
	case source.Snapshot == "":
		source.Snapshot = v1alpha1.LatestSnapshot
	}
	if f.encryptionSecret != "" {
		source.EncryptionSecret = &v1alpha1.ObjectReference{Name: f.encryptionSecret}
	}
	spec.DataSource, spec.Confirm, spec.OverwritePolicy = source, f.confirm(), v1alpha1.OverwritePolicy(f.overwrite)
	spec.DeleteExtraFiles, spec.Verify = f.deleteExtra, f.verify
	if f.sidecar {
		spec.Executor = v1alpha1.ExecutorSidecar
	}
	if f.retries > 0 {
		spec.RetryConfig = &v1alpha1.RetryConfig{MaxRetry: f.retries}
	}
	var err error
	if f.newClaim == "" {
		if spec.Target, err = targetOf(f.target); err != nil {
			return spec, err
		}
	}
	spec.Addon, err = f.addon(spec.Target, withUser)
	return spec, err
}

// addon returns the Addon of the restore. It is nil if the default applies.
func (f *restoreFlags) addon(target *v1alpha1.TypedObjectReference, withUser bool) (*v1alpha1.AddonInfo, error) {
	task := v1alpha1.TaskReference{Name: catalog.RestoreTask}
	if f.volumes {
		task.Name = catalog.VolumeRestoreTask
	}
	params, err := f.allParams(target)
	if err != nil {
		return nil, err
	}
	task.Params = catalog.NewParams(params)
	if f.newClaim != "" {
		template, err := f.template()
		if err != nil {
			return nil, err
		}
		task.TargetVolumes = &v1alpha1.TargetVolumes{VolumeClaimTemplates: []v1alpha1.RestoreClaimTemplate{template}}
	}
	name := cmp.Or(f.addonName(), inferredAddon(target))
	switch {
	case name == "" && catalog.RevealsDatabaseType(*target) && task.Params == nil && !withUser:
		return nil, nil // The controller infers it in the cluster.
	case name == "":
		return nil, command.Usagef("%s: pass --addon", whichAddon(*target))
	case f.addonName() == "" && task.Params == nil && task.TargetVolumes == nil && !withUser:
		return nil, nil
	}
	out := &v1alpha1.AddonInfo{Name: name, Tasks: []v1alpha1.TaskReference{task}}
	if withUser {
		err = asUser(out, f.user())
	}
	return out, err
}

// whichAddon explains why the user must name the Addon for a target whose kind does not tell it.
func whichAddon(target v1alpha1.TypedObjectReference) string {
	if catalog.RevealsDatabaseType(target) {
		return fmt.Sprintf(
			"only the cluster knows which database %s stands for: name the Addon that the parameters and "+
				"flags are for, such as postgres-addon", target)
	}
	return catalog.NoAddonMessage(target)
}

// inferredAddon returns the Addon for a kind of target. Without a target, the restore makes a claim.
func inferredAddon(target *v1alpha1.TypedObjectReference) string {
	if target == nil {
		return catalog.VolumeAddon
	}
	return catalog.InferredAddon(*target)
}

// allParams returns the parameters from --param, and those for which flags such as --include stand. A database has
// neither files nor data that a mover could read back.
func (f *restoreFlags) allParams(target *v1alpha1.TypedObjectReference) (map[string]string, error) {
	params := maps.Clone(f.params)
	if params == nil {
		params = map[string]string{}
	}
	database := target != nil && target.IsDatabase()
	if database && (f.overwrite != "" || f.deleteExtra || f.verify) {
		return nil,
			command.Usagef("--overwrite, --delete-extra and --verify are for volumes: a restore into a database with " +
				"--confirm replaces what the dump contains")
	}
	for name, patterns := range map[string][]string{"include": f.include, "exclude": f.exclude} {
		switch _, given := params[name]; {
		case len(patterns) == 0:
		case repository.CheckPatterns(patterns) != nil:
			return nil, command.Usagef("invalid --%s: %v", name, repository.CheckPatterns(patterns))
		case database:
			return nil, command.Usagef(
				"--%s is for files, but the target is a database: choose what to restore with --component", name)
		case given:
			return nil, command.Usagef("--%s and --param %s cannot be used together", name, name)
		default:
			params[name] = strings.Join(patterns, ",")
		}
	}
	return params, nil
}

// template returns the template of the new claim.
func (f *restoreFlags) template() (v1alpha1.RestoreClaimTemplate, error) {
	var out v1alpha1.RestoreClaimTemplate
	out.Metadata.Name = f.newClaim
	if f.size != "" {
		size, err := quantity.ParseQuantity(f.size)
		if err != nil || size.Sign() <= 0 {
			return out, command.Usagef("invalid --size %s: write a size like 10Gi", f.size)
		}
		out.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: size}
	}
	mode := f.accessMode
	if !f.volumes {
		mode = cmp.Or(mode, string(corev1.ReadWriteOnce))
	}
	if mode != "" {
		out.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.PersistentVolumeAccessMode(mode)}
	}
	if len(f.replace) > 0 {
		out.Metadata.Annotations = map[string]string{v1alpha1.AnnotationReplace: strings.Join(f.replace, ",")}
	}
	if f.storageClass != "" {
		out.Spec.StorageClassName = &f.storageClass
	}
	return out, nil
}
