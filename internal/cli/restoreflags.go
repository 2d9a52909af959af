package cli

import (
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/spf13/cobra"
)

// restoreFlags say what is restored where to.
type restoreFlags struct {
	target, newClaim, size, storageClass, accessMode string
	addons, confirms                                 []string
	params                                           map[string]string
	snapshot, repository, at                         string
	fromNamespace, encryptionSecret                  string
	components, include, exclude                     []string
	overwrite                                        string
	deleteExtra, verify, sidecar, dryRun             bool
	retries                                          int32
	runAsUser                                        int64
	replace                                          []string
	// volumes says that the Snapshot is kept as VolumeSnapshots.
	volumes bool
}

func (f *restoreFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.target, "target", "", "what to restore into: a PersistentVolumeClaim, or deployment/NAME, statefulset/NAME, daemonset/NAME; of a database service/NAME, secret/NAME, appbinding/NAME, cluster/NAME")
	flags.StringSliceVar(&f.addons, "addon", nil, "the Addon that restores, for example postgres-addon (default that for the kind of the target); with --batch, TARGET/ADDON")
	flags.StringToStringVar(&f.params, "param", nil, "parameters of the Addon's task that restores, for example secretName=db; with --batch, for its databases, and TARGET/NAME=VALUE for one target")
	flags.StringVar(&f.newClaim, "new-claim", "", "restore into a new PersistentVolumeClaim of this name; ${POD_ORDINAL} and ${COMPONENT_NAME} in it make one for each component")
	flags.StringVar(&f.size, "size", "", "the size of the new claim, for example 10Gi (default for VolumeSnapshots what they need)")
	flags.StringVar(&f.storageClass, "storage-class", "", "the storage class of the new claim (default that of the cluster, for VolumeSnapshots that of the claim they are of)")
	flags.StringVar(&f.accessMode, "access-mode", "", "the access mode of the new claim (default ReadWriteOnce, for VolumeSnapshots that of the claim they are of)")
	flags.StringSliceVar(&f.replace, "replace", nil, "for VolumeSnapshots, the UIDs of claims that are deleted for the new ones of their names")
	flags.StringVar(&f.snapshot, "snapshot", "", `the Snapshot to restore, or "latest" of --repository (the default with --repository)`)
	flags.StringVar(&f.repository, "repository", "", "the Repository that holds the Snapshot")
	flags.StringVar(&f.at, "at", "", "restore the newest Snapshot of --repository, or the newest run of --batch, at or before this time, for example 2026-11-19T20:00:00Z")
	flags.StringSliceVar(&f.components, "component", nil, "the components to restore; a PersistentVolumeClaim takes one (default all)")
	flags.StringSliceVar(&f.include, "include", nil, "patterns, as in a .gitignore file, of what is restored alone")
	flags.StringSliceVar(&f.exclude, "exclude", nil, "patterns, as in a .gitignore file, of what is not restored")
	flags.StringSliceVar(&f.confirms, "confirm", nil, "the UID of the target: restore into it although it holds data or is in use; with --batch, TARGET/UID")
	flags.StringVar(&f.overwrite, "overwrite", "", "with --confirm, what becomes of files that are there: Overwrite, IfNewer or Never (default Overwrite)")
	flags.BoolVar(&f.deleteExtra, "delete-extra", false, "with --confirm, delete what the Snapshot does not have")
	flags.BoolVar(&f.verify, "verify", false, "read back what was restored and compare it with the repository; with --batch, of all targets but databases")
	flags.BoolVar(&f.sidecar, "sidecar", false, "restore through the sidecar in the pods of the workload, which run; this needs --confirm")
	flags.Int32Var(&f.retries, "retries", 0, "how often what failed is tried again")
	flags.StringVar(&f.fromNamespace, "from-namespace", "", "the namespace of Snapshot and Repository, whose owner must allow it")
	flags.StringVar(&f.encryptionSecret, "encryption-secret", "", "the Secret of this namespace with the repository's password (default that of the Repository)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "write what would be created as YAML, once the API server has checked it, and create nothing")
	flags.Int64Var(&f.runAsUser, "run-as-user", 0, "the user ID to restore as; 0 needs a namespace that allows privileged movers (default 65532)")
}

// into is the name of what is restored into.
func (f *restoreFlags) into() string {
	if f.newClaim != "" {
		return strings.Trim(strings.NewReplacer("${POD_ORDINAL}", "", "${COMPONENT_NAME}", "").Replace(f.newClaim), "-")
	}
	return f.target[strings.LastIndex(f.target, "/")+1:]
}

// addonName and confirm are what the flags say of one target.
func (f *restoreFlags) addonName() string { return strings.Join(f.addons, "") }

func (f *restoreFlags) confirm() string { return strings.Join(f.confirms, "") }

// check refuses flags that do not go together.
func (f *restoreFlags) check(withUser bool) error {
	switch {
	case f.target == "" && f.newClaim == "":
		return usagef("say what to restore into: --target for what exists, --new-claim for a new PersistentVolumeClaim")
	case f.target != "" && f.newClaim != "":
		return usagef("--target and --new-claim exclude each other")
	case f.newClaim == "" && (f.size != "" || f.storageClass != "" || len(f.replace) > 0):
		return usagef("--size, --storage-class and --replace are for --new-claim")
	case f.snapshot == "" && f.repository == "":
		return usagef("say what to restore: --snapshot SNAPSHOT, or --repository REPOSITORY for its newest")
	case f.snapshot == v1alpha1.LatestSnapshot && f.repository == "":
		return usagef("--snapshot latest needs --repository")
	case f.at != "" && (f.snapshot != "" || f.repository == ""):
		return usagef("--at needs --repository, and no --snapshot")
	case len(f.addons) > 1 || len(f.confirms) > 1:
		return usagef("--addon and --confirm are given once: only --batch has several targets")
	case f.confirm() == "" && (f.overwrite != "" || f.deleteExtra):
		return usagef("--overwrite and --delete-extra are for a volume that holds data: name the target's UID with --confirm")
	case f.sidecar && (f.newClaim != "" || !strings.Contains(f.target, "/")):
		return usagef("--sidecar is for the volumes of a workload: --target deployment/NAME, statefulset/NAME or daemonset/NAME")
	case f.sidecar && f.confirm() == "":
		return usagef("--sidecar restores into volumes that are in use: name the workload's UID with --confirm")
	case f.sidecar && withUser:
		return usagef("--sidecar and --run-as-user exclude each other: the sidecar runs already")
	case withUser && f.runAsUser < 0:
		return usagef("--run-as-user is a user ID: it is 0 or more")
	case f.retries < 0:
		return usagef("--retries is 0 or more")
	}
	return nil
}
