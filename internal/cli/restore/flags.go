package restore

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
)

// restoreFlags select what is restored, and where to.
type restoreFlags struct {
	target, newClaim, size, storageClass, accessMode string
	addons, confirms, users                          []string
	params                                           map[string]string
	snapshot, repository, at                         string
	fromNamespace, encryptionSecret                  string
	components, include, exclude                     []string
	overwrite                                        string
	deleteExtra, verify, sidecar, dryRun             bool
	allowDamaged                                     bool
	retries                                          int32
	replace                                          []string
	// volumes says that the Snapshot consists of VolumeSnapshots.
	volumes bool
}

func (f *restoreFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.target, "target", "", "where to restore to: the name of a PersistentVolumeClaim, or "+
		"deployment/NAME, statefulset/NAME, daemonset/NAME; for a database service/NAME, secret/NAME, "+
		"appbinding/NAME, cluster/NAME")
	flags.StringSliceVar(&f.addons, "addon", nil, "the Addon that restores, for example postgres-addon (default the "+
		"Addon for the target's kind); with --batch, TARGET/ADDON")
	flags.StringToStringVar(&f.params, "param", nil, "parameters of the Addon's restore task, for example "+
		"secretName=db; with --batch, they are for all databases, and TARGET/NAME=VALUE is for one target")
	flags.StringVar(&f.newClaim, "new-claim", "", "restore into a new PersistentVolumeClaim of this name; with "+
		"${POD_ORDINAL} or ${COMPONENT_NAME} in the name, into one for each component")
	flags.StringVar(&f.size, "size", "",
		"the size of the new claim, for example 10Gi (default for VolumeSnapshots: the size that they need)")
	flags.StringVar(&f.storageClass, "storage-class", "", "the storage class of the new claim (default that of the "+
		"cluster; for VolumeSnapshots, that of the claim they were made of)")
	flags.StringVar(&f.accessMode, "access-mode", "", "the access mode of the new claim (default ReadWriteOnce; for "+
		"VolumeSnapshots, that of the claim they were made of)")
	flags.StringSliceVar(&f.replace, "replace", nil,
		"for VolumeSnapshots, the UIDs of existing claims that are deleted "+
			"and replaced by new claims of the same names")
	flags.StringVar(&f.snapshot, "snapshot", "",
		`the Snapshot to restore, or "latest" for the newest of --repository (the default with --repository)`)
	flags.StringVar(&f.repository, "repository", "", "the Repository that holds the Snapshot")
	flags.StringVar(&f.at, "at", "",
		"restore the newest Snapshot of --repository, or the newest run of --batch, at or "+
			"before this time, for example 2026-11-19T20:00:00Z")
	flags.BoolVar(&f.allowDamaged, "allow-damaged", false, "restore what is left of --snapshot, or with --batch of "+
		"--backup-session, although data of it is known to be gone or it is being deleted")
	flags.StringSliceVar(&f.components, "component", nil,
		"the components to restore; a PersistentVolumeClaim takes one (default all)")
	flags.StringSliceVar(&f.include, "include", nil,
		"restore only what matches these patterns (see the guide on restores)")
	flags.StringSliceVar(&f.exclude, "exclude", nil,
		"leave out what matches these patterns (see the guide on restores)")
	flags.StringSliceVar(&f.confirms, "confirm", nil,
		"the UID of the target, to restore into it although it holds data or is in use; with --batch, TARGET/UID; to "+
			"run an identical restore again, with a slash and another word behind the UID")
	flags.StringVar(&f.overwrite, "overwrite", "",
		"with --confirm, whether existing files are overwritten: Overwrite, IfNewer or Never (default Overwrite)")
	flags.BoolVar(&f.deleteExtra, "delete-extra", false,
		"with --confirm, delete files that the Snapshot does not have; else they stay")
	flags.BoolVar(&f.verify, "verify", false, "read back what was restored and compare it with the repository; with "+
		"--batch, for all targets except databases")
	flags.BoolVar(&f.sidecar, "sidecar", false,
		"restore through the sidecar in the running pods of the workload; needs --confirm")
	flags.Int32Var(&f.retries, "retries", 0, "how often a failed restore is tried again")
	flags.StringVar(&f.fromNamespace, "from-namespace", "",
		"the namespace of Snapshot and Repository; its owner must allow the restore")
	flags.StringVar(&f.encryptionSecret, "encryption-secret", "",
		"the Secret of this namespace with the repository's password (default the Repository's own)")
	flags.BoolVar(&f.dryRun, "dry-run", false,
		"only print as YAML what would be created, after the API server has checked it")
	flags.StringSliceVar(&f.users, "run-as-user", nil,
		"the user ID to restore as, with --batch TARGET/ID; 0 works only in a namespace that allows privileged movers "+
			"(default 65532)")
}

// into returns the name of the target or the new claim, for the name of the restore.
func (f *restoreFlags) into() string {
	if f.newClaim != "" {
		return strings.Trim(strings.NewReplacer("${POD_ORDINAL}", "", "${COMPONENT_NAME}", "").Replace(f.newClaim), "-")
	}
	return f.target[strings.LastIndex(f.target, "/")+1:]
}

// addonName, confirm and user return the values for a single target.
func (f *restoreFlags) addonName() string { return strings.Join(f.addons, "") }

func (f *restoreFlags) confirm() string { return strings.Join(f.confirms, "") }

func (f *restoreFlags) user() string { return strings.Join(f.users, "") }

// userID parses a value of --run-as-user.
func userID(value string) (int64, error) {
	user, err := strconv.ParseInt(value, 10, 64)
	if err != nil || user < 0 {
		return 0, command.Usagef("--run-as-user must be 0 or more")
	}
	return user, nil
}

// asUser lets an Addon restore as the user with an ID.
func asUser(addon *v1alpha1.AddonInfo, value string) error {
	user, err := userID(value)
	if err != nil {
		return err
	}
	if addon.JobTemplate == nil {
		addon.JobTemplate = &v1alpha1.PodTemplateSpec{}
	}
	if addon.JobTemplate.Spec.SecurityContext == nil {
		addon.JobTemplate.Spec.SecurityContext = &v1alpha1.MoverSecurityContext{}
	}
	addon.JobTemplate.Spec.SecurityContext.RunAsUser = &user
	return nil
}

// check refuses combinations of flags that make no sense.
func (f *restoreFlags) check(withUser bool) error {
	switch {
	case f.target == "" && f.newClaim == "":
		return command.Usagef(
			"say where to restore to: pass --target for an existing object, or --new-claim for a new " +
				"PersistentVolumeClaim")
	case f.target != "" && f.newClaim != "":
		return command.Usagef("--target and --new-claim cannot be used together")
	case f.newClaim == "" && (f.size != "" || f.storageClass != "" || len(f.replace) > 0):
		return command.Usagef("--size, --storage-class and --replace need --new-claim")
	case f.snapshot == "" && f.repository == "":
		return command.Usagef(
			"say what to restore: pass --snapshot SNAPSHOT, or --repository REPOSITORY for its newest Snapshot")
	case f.snapshot == v1alpha1.LatestSnapshot && f.repository == "":
		return command.Usagef("--snapshot latest needs --repository")
	case f.at != "" && (f.snapshot != "" || f.repository == ""):
		return command.Usagef("--at needs --repository and cannot be used with --snapshot")
	case f.allowDamaged && (f.snapshot == "" || f.snapshot == v1alpha1.LatestSnapshot):
		return command.Usagef("--allow-damaged needs --snapshot with the name of a Snapshot: latest never takes a " +
			"damaged one")
	case len(f.addons) > 1 || len(f.confirms) > 1 || len(f.users) > 1:
		return command.Usagef("--addon, --confirm and --run-as-user can be given only once: only --batch has several " +
			"targets")
	case f.confirm() == "" && (f.overwrite != "" || f.deleteExtra):
		return command.Usagef("--overwrite and --delete-extra need --confirm with the UID of the target")
	case f.sidecar && (f.newClaim != "" || !strings.Contains(f.target, "/")):
		return command.Usagef(
			"--sidecar needs a workload: pass --target deployment/NAME, statefulset/NAME or daemonset/NAME")
	case f.sidecar && f.confirm() == "":
		return command.Usagef(
			"--sidecar restores into volumes that are in use: pass --confirm with the UID of the workload")
	case f.sidecar && withUser:
		return command.Usagef("--sidecar and --run-as-user cannot be used together: the sidecar runs already")
	case f.retries < 0:
		return command.Usagef("--retries must be 0 or more")
	}
	if withUser {
		_, err := userID(f.user())
		return err
	}
	return nil
}
