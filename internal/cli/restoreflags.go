package cli

import (
	"cmp"
	"encoding/json"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// restoreTask is the task of every Addon that restores.
const restoreTask = "logical-backup-restore"

// restoreFlags say what is restored where to.
type restoreFlags struct {
	target, newClaim, size, storageClass, accessMode string
	addonName                                        string
	params                                           map[string]string
	snapshot, repository, at                         string
	fromNamespace, encryptionSecret                  string
	components, include, exclude                     []string
	confirm, overwrite                               string
	deleteExtra, verify, sidecar                     bool
	retries                                          int32
	runAsUser                                        int64
}

func (f *restoreFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.target, "target", "", "what to restore into: a PersistentVolumeClaim, or deployment/NAME, statefulset/NAME, daemonset/NAME; of a database service/NAME, secret/NAME, appbinding/NAME, cluster/NAME")
	flags.StringVar(&f.addonName, "addon", "", "the Addon that restores, for example postgres-addon (default that for the kind of the target)")
	flags.StringToStringVar(&f.params, "param", nil, "parameters of the Addon's task logical-backup-restore, for example secretName=db")
	flags.StringVar(&f.newClaim, "new-claim", "", "restore into a new PersistentVolumeClaim of this name; ${POD_ORDINAL} and ${COMPONENT_NAME} in it make one for each component")
	flags.StringVar(&f.size, "size", "", "the size of the new claim, for example 10Gi")
	flags.StringVar(&f.storageClass, "storage-class", "", "the storage class of the new claim (default that of the cluster)")
	flags.StringVar(&f.accessMode, "access-mode", string(corev1.ReadWriteOnce), "the access mode of the new claim")
	flags.StringVar(&f.snapshot, "snapshot", "", `the Snapshot to restore, or "latest" of --repository (the default with --repository)`)
	flags.StringVar(&f.repository, "repository", "", "the Repository that holds the Snapshot")
	flags.StringVar(&f.at, "at", "", "restore the newest Snapshot of --repository, or the newest run of --batch, at or before this time, for example 2026-11-19T20:00:00Z")
	flags.StringSliceVar(&f.components, "component", nil, "the components to restore; a PersistentVolumeClaim takes one (default all)")
	flags.StringSliceVar(&f.include, "include", nil, "patterns, as in a .gitignore file, of what is restored alone")
	flags.StringSliceVar(&f.exclude, "exclude", nil, "patterns, as in a .gitignore file, of what is not restored")
	flags.StringVar(&f.confirm, "confirm", "", "the UID of the target: restore into it although it holds data or is in use")
	flags.StringVar(&f.overwrite, "overwrite", "", "with --confirm, what becomes of files that are there: Overwrite, IfNewer or Never (default Overwrite)")
	flags.BoolVar(&f.deleteExtra, "delete-extra", false, "with --confirm, delete what the Snapshot does not have")
	flags.BoolVar(&f.verify, "verify", false, "read back what was restored and compare it with the repository")
	flags.BoolVar(&f.sidecar, "sidecar", false, "restore through the sidecar in the pods of the workload, which run; this needs --confirm")
	flags.Int32Var(&f.retries, "retries", 0, "how often what failed is tried again")
	flags.StringVar(&f.fromNamespace, "from-namespace", "", "the namespace of Snapshot and Repository, whose owner must allow it")
	flags.StringVar(&f.encryptionSecret, "encryption-secret", "", "the Secret of this namespace with the repository's password (default that of the Repository)")
	flags.Int64Var(&f.runAsUser, "run-as-user", 0, "the user ID to restore as; 0 needs a namespace that allows privileged movers (default 65532)")
}

// into is the name of what is restored into.
func (f *restoreFlags) into() string {
	if f.newClaim != "" {
		return strings.Trim(strings.NewReplacer("${POD_ORDINAL}", "", "${COMPONENT_NAME}", "").Replace(f.newClaim), "-")
	}
	return f.target[strings.LastIndex(f.target, "/")+1:]
}

// check refuses flags that do not go together.
func (f *restoreFlags) check(withUser bool) error {
	switch {
	case f.target == "" && f.newClaim == "":
		return usagef("say what to restore into: --target for what exists, --new-claim for a new PersistentVolumeClaim")
	case f.target != "" && f.newClaim != "":
		return usagef("--target and --new-claim exclude each other")
	case f.newClaim != "" && f.size == "":
		return usagef("say how large the new claim is with --size, for example --size 10Gi")
	case f.newClaim == "" && (f.size != "" || f.storageClass != ""):
		return usagef("--size and --storage-class are for --new-claim")
	case f.snapshot == "" && f.repository == "":
		return usagef("say what to restore: --snapshot SNAPSHOT, or --repository REPOSITORY for its newest")
	case f.snapshot == v1alpha1.LatestSnapshot && f.repository == "":
		return usagef("--snapshot latest needs --repository")
	case f.at != "" && (f.snapshot != "" || f.repository == ""):
		return usagef("--at needs --repository, and no --snapshot")
	case f.confirm == "" && (f.overwrite != "" || f.deleteExtra):
		return usagef("--overwrite and --delete-extra are for a volume that holds data: name the target's UID with --confirm")
	case f.sidecar && (f.newClaim != "" || !strings.Contains(f.target, "/")):
		return usagef("--sidecar is for the volumes of a workload: --target deployment/NAME, statefulset/NAME or daemonset/NAME")
	case f.sidecar && f.confirm == "":
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

func (f *restoreFlags) spec(withUser bool) (v1alpha1.RestoreSessionSpec, error) {
	var spec v1alpha1.RestoreSessionSpec
	if err := f.check(withUser); err != nil {
		return spec, err
	}
	source := &v1alpha1.RestoreDataSource{Namespace: f.fromNamespace, Repository: f.repository, Snapshot: f.snapshot, Components: f.components}
	switch {
	case f.at != "":
		at, err := time.Parse(time.RFC3339, f.at)
		if err != nil {
			return spec, usagef("--at %s is not a time like 2026-11-19T20:00:00Z", f.at)
		}
		source.PITR = &v1alpha1.PITR{TargetTime: &metav1.Time{Time: at.UTC()}}
	case source.Snapshot == "":
		source.Snapshot = v1alpha1.LatestSnapshot
	}
	if f.encryptionSecret != "" {
		source.EncryptionSecret = &v1alpha1.ObjectReference{Name: f.encryptionSecret}
	}
	spec.DataSource, spec.Confirm, spec.OverwritePolicy = source, f.confirm, v1alpha1.OverwritePolicy(f.overwrite)
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

// targetOf reads KIND/NAME; a name alone is that of a claim.
func targetOf(target string) (*v1alpha1.TypedObjectReference, error) {
	kind, name, typed := strings.Cut(target, "/")
	if !typed {
		return &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: target}, nil
	}
	out := &v1alpha1.TypedObjectReference{APIGroup: "apps", Name: name}
	switch strings.ToLower(kind) {
	case "deployment", "deploy":
		out.Kind = v1alpha1.KindDeployment
	case "statefulset", "sts":
		out.Kind = v1alpha1.KindStatefulSet
	case "daemonset", "ds":
		out.Kind = v1alpha1.KindDaemonSet
	case "persistentvolumeclaim", "pvc":
		out.APIGroup, out.Kind = "", v1alpha1.KindPersistentVolumeClaim
	case "service", "svc":
		out.APIGroup, out.Kind = "", v1alpha1.KindService
	case "secret":
		out.APIGroup, out.Kind = "", v1alpha1.KindSecret
	case "appbinding":
		out.APIGroup, out.Kind = v1alpha1.GroupAppBinding, v1alpha1.KindAppBinding
	case "cluster":
		out.APIGroup, out.Kind = v1alpha1.GroupCluster, v1alpha1.KindCluster
	default:
		return nil, usagef("--target %s: the kind is pvc, deployment, statefulset, daemonset, service, secret, appbinding or cluster", target)
	}
	return out, nil
}

// addon is nil where the default does.
func (f *restoreFlags) addon(target *v1alpha1.TypedObjectReference, withUser bool) (*v1alpha1.AddonInfo, error) {
	task := v1alpha1.TaskReference{Name: restoreTask}
	params, err := f.allParams(target)
	if err != nil {
		return nil, err
	}
	if len(params) > 0 {
		raw, err := json.Marshal(params)
		if err != nil {
			return nil, err
		}
		task.Params = &apiextensionsv1.JSON{Raw: raw}
	}
	if f.newClaim != "" {
		template, err := f.template()
		if err != nil {
			return nil, err
		}
		task.TargetVolumes = &v1alpha1.TargetVolumes{VolumeClaimTemplates: []v1alpha1.RestoreClaimTemplate{template}}
	}
	name := cmp.Or(f.addonName, inferredAddon(target))
	switch {
	case name == "":
		return nil, usagef("%s", policy.NoAddon(*target)+": --addon")
	case f.addonName == "" && task.Params == nil && task.TargetVolumes == nil && !withUser:
		return nil, nil
	}
	out := &v1alpha1.AddonInfo{Name: name, Tasks: []v1alpha1.TaskReference{task}}
	if withUser {
		user := f.runAsUser
		job := v1alpha1.JobPodSpec{SecurityContext: &v1alpha1.MoverSecurityContext{RunAsUser: &user}}
		out.JobTemplate = &v1alpha1.PodTemplateSpec{Spec: job}
	}
	return out, nil
}

// inferredAddon is that for a kind of target; without a target, a claim is made.
func inferredAddon(target *v1alpha1.TypedObjectReference) string {
	if target == nil {
		return policy.VolumeAddon
	}
	return policy.InferredAddon(*target)
}

// allParams are those that are given, and those that flags of their own stand for. A database has neither files nor what a mover could
// read back.
func (f *restoreFlags) allParams(target *v1alpha1.TypedObjectReference) (map[string]string, error) {
	params := maps.Clone(f.params)
	if params == nil {
		params = map[string]string{}
	}
	database := target != nil && target.IsDatabase()
	if database && (f.overwrite != "" || f.deleteExtra || f.verify) {
		return nil, usagef("--overwrite, --delete-extra and --verify are for volumes: with --confirm a restore into a database replaces what the dump has")
	}
	for name, patterns := range map[string][]string{"include": f.include, "exclude": f.exclude} {
		switch _, given := params[name]; {
		case len(patterns) == 0:
		case database:
			return nil, usagef("--%s is for files, and the target is a database: --component names what is restored of it", name)
		case given:
			return nil, usagef("--%s and --param %s exclude each other", name, name)
		default:
			params[name] = strings.Join(patterns, ",")
		}
	}
	return params, nil
}

// template is that of the new claim.
func (f *restoreFlags) template() (v1alpha1.RestoreClaimTemplate, error) {
	var out v1alpha1.RestoreClaimTemplate
	size, err := quantity.ParseQuantity(f.size)
	if err != nil || size.Sign() <= 0 {
		return out, usagef("--size %s is not a size like 10Gi", f.size)
	}
	out.Metadata.Name = f.newClaim
	out.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.PersistentVolumeAccessMode(cmp.Or(f.accessMode, string(corev1.ReadWriteOnce)))}
	out.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: size}
	if f.storageClass != "" {
		out.Spec.StorageClassName = &f.storageClass
	}
	return out, nil
}
