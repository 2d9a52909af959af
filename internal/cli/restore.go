package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const restoreExample = `  # Restore the newest backup of a repository into an empty volume, and wait for its end
  %[1]s restore web-again --repository shop-web --snapshot latest --target web-restored -n shop --wait

  # Restore the second pod's volume of one snapshot
  %[1]s restore --snapshot shop-db-shop-hourly-1795154820 --component pod-1 --target db-copy -n shop`

// restoreFlags say what is restored where to.
type restoreFlags struct {
	target, snapshot, repository, component string
	runAsUser                               int64
}

func newRestore(o Options) *cobra.Command {
	var f restoreFlags
	var w waiting
	cmd := &cobra.Command{
		Use:   "restore [NAME] --target PVC (--snapshot SNAPSHOT | --repository REPOSITORY)",
		Short: "Restore a snapshot into an empty volume",
		Long: "Restore a snapshot into an empty PersistentVolumeClaim that no pod uses.\n\n" +
			"NAME is that of the RestoreSession; without it, the name is made of the target and the time.",
		Example: fmt.Sprintf(restoreExample, o.name()),
		Args:    argsBetween(0, 1, "[NAME] --target PVC (--snapshot SNAPSHOT | --repository REPOSITORY)"),
	}
	c := newCluster(cmd, true)
	cmd.Flags().StringVar(&f.target, "target", "", "the PersistentVolumeClaim to restore to (required)")
	cmd.Flags().StringVar(&f.snapshot, "snapshot", "", `the Snapshot to restore, or "latest" of --repository (the default with --repository)`)
	cmd.Flags().StringVar(&f.repository, "repository", "", "the Repository that holds the Snapshot")
	cmd.Flags().StringVar(&f.component, "component", "", "the component to restore; needed where the Snapshot has several")
	cmd.Flags().Int64Var(&f.runAsUser, "run-as-user", 0, "the user ID to restore as; 0 needs a namespace that allows privileged movers (default 65532)")
	w.addFlags(cmd, "restore")
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	for flag, read := range map[string]names{
		"target": claimNames, "snapshot": snapshotNames, "repository": repositoryNames, "component": componentNames(&f),
	} {
		c.completeFlag(cmd, flag, func([]string) names { return read })
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		spec, err := f.spec(cmd.Flags().Changed("run-as-user"))
		if err != nil {
			return err
		}
		if err := w.check(); err != nil {
			return err
		}
		api, namespace, err := c.both()
		if err != nil {
			return err
		}
		key := client.ObjectKey{Namespace: namespace, Name: restoreName(f.target, o.Clock.Now())}
		if len(args) > 0 {
			key.Name = args[0]
		}
		if err := restore(cmd.Context(), o, api, key, spec); err != nil || !w.wait {
			return err
		}
		return followRestore(cmd.Context(), o, api, key, w.timeout)
	}
	return cmd
}

// The Addon and task of a restore, needed where the restore says more than the default does.
const (
	restoreAddon = "pvc-addon"
	restoreTask  = "logical-backup-restore"
)

func (f *restoreFlags) spec(withUser bool) (v1alpha1.RestoreSessionSpec, error) {
	var spec v1alpha1.RestoreSessionSpec
	switch {
	case f.target == "":
		return spec, usagef("say which PersistentVolumeClaim to restore to with --target")
	case f.snapshot == "" && f.repository == "":
		return spec, usagef("say what to restore: --snapshot SNAPSHOT, or --repository REPOSITORY for its newest")
	case f.snapshot == v1alpha1.LatestSnapshot && f.repository == "":
		return spec, usagef("--snapshot latest needs --repository")
	case withUser && f.runAsUser < 0:
		return spec, usagef("--run-as-user is a user ID: it is 0 or more")
	}
	source := &v1alpha1.RestoreDataSource{Repository: f.repository, Snapshot: f.snapshot}
	if source.Snapshot == "" {
		source.Snapshot = v1alpha1.LatestSnapshot
	}
	if f.component != "" {
		source.Components = []string{f.component}
	}
	spec.DataSource = source
	spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: f.target}
	if withUser {
		user := f.runAsUser
		job := v1alpha1.JobPodSpec{SecurityContext: &v1alpha1.MoverSecurityContext{RunAsUser: &user}}
		spec.Addon = &v1alpha1.AddonInfo{
			Name: restoreAddon, Tasks: []v1alpha1.TaskReference{{Name: restoreTask}}, JobTemplate: &v1alpha1.PodTemplateSpec{Spec: job},
		}
	}
	return spec, nil
}

// maxRestoreName is what the API allows.
const maxRestoreName = 63

// restoreName is <target>-<unix seconds>, with the target cut where that is too long.
func restoreName(target string, now time.Time) string {
	tail := "-" + strconv.FormatInt(now.Unix(), 10)
	if limit := maxRestoreName - len(tail); len(target) > limit {
		target = strings.TrimRight(target[:limit], "-.")
	}
	return target + tail
}

// restore creates the RestoreSession, or finds the one that says the same.
func restore(ctx context.Context, o Options, api client.Client, key client.ObjectKey, spec v1alpha1.RestoreSessionSpec) error {
	object := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Spec: spec}
	err := api.Create(ctx, object)
	if err == nil {
		fmt.Fprintf(o.Out, "restoresession/%s created\n", key.Name)
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create the RestoreSession: %w", err)
	}
	var existing v1alpha1.RestoreSession
	if err := api.Get(ctx, key, &existing); err != nil {
		return fmt.Errorf("get RestoreSession %s: %w", key.Name, err)
	}
	spec.RestoreTimeout = existing.Spec.RestoreTimeout // set by the API server
	if !equality.Semantic.DeepEqual(spec, existing.Spec) {
		return fmt.Errorf("restoresession/%s exists and restores something else: choose another name", key.Name)
	}
	fmt.Fprintf(o.Out, "restoresession/%s is already there: nothing is restored again. For another restore choose another name\n", key.Name)
	return nil
}

// followRestore waits for the end of a RestoreSession.
func followRestore(ctx context.Context, o Options, api client.Client, key client.ObjectKey, timeout time.Duration) error {
	return follow(ctx, o, "restoresession/"+key.Name, timeout, func(ctx context.Context) (progress, error) {
		var s v1alpha1.RestoreSession
		if err := api.Get(ctx, key, &s); err != nil {
			return progress{}, err
		}
		p := progress{phase: string(s.Status.Phase), ended: s.Status.Phase.Terminal()}
		if !p.ended && len(s.Status.Components) == 0 {
			p.parts = []part{{text: waitingState(p.phase, readyMessage(s.Status.Conditions))}}
		}
		for _, name := range slices.Sorted(maps.Keys(s.Status.Components)) {
			p.parts = append(p.parts, part{"component " + name + ": ", restoredState(s.Status.Components[name])})
		}
		if p.ended {
			p.end = ending(p.phase, s.Status.Reason, s.Status.Duration, notReady(s.Status.Conditions))
		}
		return p, nil
	})
}

// componentNames are those of the chosen Snapshot, else of all Snapshots of the chosen Repository.
func componentNames(f *restoreFlags) names {
	return func(ctx context.Context, api client.Client, namespace string) ([]string, error) {
		var list v1alpha1.SnapshotList
		if err := api.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		found := map[string]bool{}
		for i := range list.Items {
			s := &list.Items[i]
			if s.Name != f.snapshot && (f.snapshot != "" && f.snapshot != v1alpha1.LatestSnapshot || s.Spec.Repository != f.repository) {
				continue
			}
			for name := range s.Status.Components {
				found[name] = true
			}
		}
		return slices.Sorted(maps.Keys(found)), nil
	}
}
