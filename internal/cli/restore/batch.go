package restore

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/cli/get"
	"github.com/cairn-backup/cairn/internal/text"
)

// batchFlags select what of a BackupBatch is restored. Each target is restored to where it was backed up.
type batchFlags struct {
	batch, backupSession, session string
	only, scaleDown               []string
	mixed, sequential             bool
}

func (f *batchFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.batch, "batch", "", "the BackupBatch whose targets are restored from one restore point, each "+
		"into the object of the same kind and name in this namespace")
	flags.StringVar(&f.backupSession, "backup-session", "",
		"with --batch, the run to restore, or \"latest\" (the default) for the newest run in which all requested "+
			"targets succeeded")
	flags.StringVar(&f.session, "session", "",
		"with --batch, consider only runs of this session (default all sessions)")
	flags.StringSliceVar(&f.only, "only", nil,
		"with --batch, the targets to restore (default all targets of the BackupBatch)")
	flags.StringSliceVar(&f.scaleDown, "scale-down", nil,
		"with --batch, workloads that are scaled to zero during the restore: deployment/NAME or statefulset/NAME")
	flags.BoolVar(&f.mixed, "mixed", false,
		"with --batch, restore the newest backup of each target, even if they come from different runs")
	flags.BoolVar(&f.sequential, "sequential", false, "with --batch, restore one target after another")
}

// flagsOfOneTarget lists the flags that cannot be used with --batch.
var flagsOfOneTarget = []string{
	"target", "new-claim", "size", "storage-class", "access-mode", "replace", "snapshot", "repository", "component",
	"include", "exclude",
	"overwrite", "delete-extra", "sidecar",
}

// fieldsOfTarget names the fields of a target of a RestoreBatch that do what a flag does.
var fieldsOfTarget = map[string]string{
	"target": "target", "repository": "repository", "component": "components", "overwrite": "overwritePolicy",
	"delete-extra": "deleteExtraFiles", "sidecar": "executor",
}

// flagsOfBatch lists the flags that need --batch.
var flagsOfBatch = []string{"backup-session", "session", "only", "scale-down", "mixed", "sequential"}

// check refuses combinations of flags that make no sense.
func (f *batchFlags) check(cmd *cobra.Command) error {
	wrong := flagsOfBatch
	if f.batch != "" {
		wrong = flagsOfOneTarget
	}
	for _, name := range wrong {
		switch field := fieldsOfTarget[name]; {
		case !cmd.Flags().Changed(name):
		case f.batch == "":
			return command.Usagef("--%s needs --batch", name)
		case field != "":
			return command.Usagef("--%s is for one target and cannot be used with --batch: save what --dry-run "+
				"prints, write %s into its targets, and apply it", name, field)
		default:
			return command.Usagef("--%s is for one target and cannot be used with --batch: write a RestoreBatch "+
				"instead", name)
		}
	}
	return nil
}

// spec returns the spec of the RestoreBatch. It restores all targets of the BackupBatch unless --only names some.
func (f *batchFlags) spec(ctx context.Context, api client.Client, namespace string, common *restoreFlags) (
	v1alpha1.RestoreBatchSpec, error,
) {
	spec := v1alpha1.RestoreBatchSpec{DataSource: v1alpha1.RestoreBatchDataSource{
		Namespace: common.fromNamespace, BackupBatch: f.batch, Session: f.session, BackupSession: f.backupSession,
		Mixed: f.mixed, AllowDamaged: common.allowDamaged,
	}}
	source := &spec.DataSource
	switch {
	case common.allowDamaged && (f.backupSession == "" || f.backupSession == v1alpha1.LatestBackupSession):
		return spec, command.Usagef("--allow-damaged needs --backup-session with the name of a run: latest never " +
			"takes a damaged one")
	case common.at != "" && f.backupSession != "":
		return spec, command.Usagef("--at and --backup-session cannot be used together")
	case common.at != "":
		at, err := time.Parse(time.RFC3339, common.at)
		if err != nil {
			return spec, command.Usagef("invalid --at %s: write a time like 2026-11-19T20:00:00Z", common.at)
		}
		source.PITR = &v1alpha1.PITR{TargetTime: &metav1.Time{Time: at.UTC()}}
	default:
		source.BackupSession = cmp.Or(f.backupSession, v1alpha1.LatestBackupSession)
	}
	if common.retries < 0 {
		return spec, command.Usagef("--retries must be 0 or more")
	}
	if common.retries > 0 {
		spec.RetryConfig = &v1alpha1.RetryConfig{MaxRetry: common.retries}
	}
	if common.encryptionSecret != "" {
		source.EncryptionSecret = &v1alpha1.ObjectReference{Name: common.encryptionSecret}
	}
	if f.sequential {
		spec.ExecutionOrder = v1alpha1.ExecutionSequential
	}
	for _, workload := range f.scaleDown {
		w, err := targetOf(workload)
		if err != nil || w.Kind != v1alpha1.KindDeployment && w.Kind != v1alpha1.KindStatefulSet {
			return spec, command.Usagef("invalid --scale-down %s: write deployment/NAME or statefulset/NAME", workload)
		}
		spec.ScaleDown = append(spec.ScaleDown, v1alpha1.ScaleDown{Kind: w.Kind, Name: w.Name})
	}
	var err error
	from := client.ObjectKey{Namespace: cmp.Or(common.fromNamespace, namespace), Name: f.batch}
	spec.Targets, err = f.targets(ctx, &addonReader{api: api}, from, common)
	return spec, err
}

// restoreBatch creates the RestoreBatch, or finds an existing one with the same spec.
func restoreBatch(
	ctx context.Context, o command.Options, api client.Client, key client.ObjectKey,
	spec v1alpha1.RestoreBatchSpec, dryRun bool,
) error {
	var existing v1alpha1.RestoreBatch
	object := &v1alpha1.RestoreBatch{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.RestoreBatchKind},
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Spec: spec,
	}
	return createRestore(ctx, o, api, object, &existing, dryRun, func() bool {
		spec.RestoreTimeout = existing.Spec.RestoreTimeout // it changes nothing of what is restored
		// The API server has filled in what the spec leaves out.
		spec.ExecutionOrder = cmp.Or(spec.ExecutionOrder, v1alpha1.ExecutionParallel)
		said, errSaid := json.Marshal(spec)
		there, errThere := json.Marshal(existing.Spec)
		return errSaid == nil && errThere == nil && string(said) == string(there)
	})
}

// followRestoreBatch waits for the end of a RestoreBatch.
func followRestoreBatch(
	ctx context.Context, o command.Options, api client.Client, key client.ObjectKey,
	timeout time.Duration,
) error {
	took := newTaken(api, o.Clock.Now())
	return command.Follow(ctx, o, "restorebatch/"+key.Name, timeout,
		func(ctx context.Context) (command.Progress, error) {
			var b v1alpha1.RestoreBatch
			if err := api.Get(ctx, key, &b); err != nil {
				return command.Progress{}, err
			}
			p := command.Progress{Phase: string(b.Status.Phase), Ended: b.Status.Phase.Terminal()}
			p.AddWait(len(b.Status.Targets) > 0, get.ReadyMessage(b.Status.Conditions))
			for _, t := range b.Status.Targets {
				p.Parts = append(p.Parts,
					command.Part{Name: "target " + t.Name + ": ", Text: took.target(ctx, &b, t)})
			}
			p.Parts = append(p.Parts, command.RestoreHookErrors(b.Status.Hooks)...)
			if p.Ended {
				p.End = command.Ending(p.Phase, b.Status.Reason, b.Status.Duration, get.NotReady(b.Status.Conditions)) +
					byBatch(&b)
				p.Warning = batchWarning(ctx, api, &b)
			}
			return p, nil
		})
}

// batchWarning returns what a RestoreBatch that ended well lacks: replicas of workloads, data of which other Snapshots
// hold more or newer, owners and attributes. Of its targets it says more than the condition does, which names only one.
func batchWarning(ctx context.Context, api client.Client, b *v1alpha1.RestoreBatch) string {
	lack := b.Lack()
	if lack == nil {
		return ""
	}
	wrong, targets, more := int64(0), []string(nil), []string(nil)
	for _, t := range b.Status.Targets {
		if t.RestoreSession == "" {
			continue
		}
		var s v1alpha1.RestoreSession
		if err := api.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: t.RestoreSession}, &s); err != nil {
			return lack.Message // it says where to look
		}
		if n := s.WrongOwners(); n > 0 {
			wrong, targets = wrong+n, append(targets, t.Name)
		}
		if of := s.Lack(); of != nil && s.LosesBesideOwners() {
			more = append(more, "target "+t.Name+": "+of.Message)
		}
	}
	var warnings []string
	left := slices.ContainsFunc(b.Status.ScaledDown, func(w v1alpha1.ScaledWorkload) bool {
		return w.Phase == v1alpha1.ScaleLeft
	})
	if wrong == 0 && more == nil || left || lack.Reason != v1alpha1.ReasonPartial {
		warnings = append(warnings, lack.Message)
	}
	if more != nil {
		warnings = append(warnings, text.Join(more))
	}
	if wrong > 0 {
		warnings = append(warnings, ownersWarning(wrong, "these targets ("+
			strings.Join(targets, ", ")+")"))
	}
	return strings.Join(warnings, "; ")
}

func batchNames(ctx context.Context, api client.Client, namespace string) ([]string, error) {
	var list v1alpha1.BackupBatchList
	return command.ListNames(ctx, api, namespace, &list, func() []string { return command.NamesOf(list.Items) })
}
