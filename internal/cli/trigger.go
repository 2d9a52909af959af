package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/cli/get"
	"github.com/cairn-backup/cairn/internal/policy"
)

const triggerExample = `  # Run the session hourly of the batch shop now, and wait for its end
  %[1]s trigger batch/shop --session hourly -n shop --wait

  # The same for a BackupConfiguration
  %[1]s trigger bc/uploads --session nightly -n shop`

func newTrigger(o command.Options) *cobra.Command {
	var session string
	var acceptShrink bool
	var w command.Waiting
	cmd := &cobra.Command{
		Use:     "trigger bc/NAME|batch/NAME --session SESSION",
		Short:   "Run a session of a policy now",
		Example: fmt.Sprintf(triggerExample, o.Name()),
		Args:    command.ArgsBetween(1, 1, "bc/NAME|batch/NAME --session SESSION"),
	}
	c := command.NewCluster(cmd, true)
	cmd.Flags().StringVar(&session, "session", "", "the session to run (required)")
	cmd.Flags().BoolVar(&acceptShrink, "accept-shrink", false, "let this run succeed however much of the last backup "+
		"is gone, in every target; an empty one also needs successPolicy.empty: Allow")
	w.AddFlags(cmd, "backup")
	cmd.ValidArgsFunction = c.CompleteFirst(command.InvokerNames)
	c.CompleteFlag(cmd, "session", sessionNames)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := parseInvoker(args[0])
		if err != nil {
			return err
		}
		if err := w.Check(); err != nil {
			return err
		}
		api, namespace, err := c.Both()
		if err != nil {
			return err
		}
		name, err := trigger(cmd.Context(), o, api, namespace, v1alpha1.BackupSessionSpec{
			Invoker: ref, Session: session, AcceptShrink: acceptShrink,
		})
		if err != nil || !w.Wait {
			return err
		}
		return followBackup(cmd.Context(), o, api, client.ObjectKey{Namespace: namespace, Name: name}, w.Timeout)
	}
	return cmd
}

// parseInvoker parses bc/NAME and batch/NAME, and accepts the other names of the kinds.
func parseInvoker(arg string) (v1alpha1.TypedLocalObjectReference, error) {
	ref := v1alpha1.TypedLocalObjectReference{APIGroup: v1alpha1.Group}
	kind, name, ok := strings.Cut(arg, "/")
	switch strings.ToLower(kind) {
	case "bc", "backupconfiguration", "backupconfigurations":
		ref.Kind = v1alpha1.BackupConfigurationKind
	case "batch", "bb", "backupbatch", "backupbatches":
		ref.Kind = v1alpha1.BackupBatchKind
	}
	if !ok || ref.Kind == "" || name == "" || strings.Contains(name, "/") {
		return ref, command.Usagef(
			"%q is not a policy: write bc/NAME for a BackupConfiguration or batch/NAME for a BackupBatch", arg)
	}
	ref.Name = name
	return ref, nil
}

// sessionsOf returns the names of the sessions of an invoker.
func sessionsOf(ctx context.Context, api client.Client, namespace string, ref v1alpha1.TypedLocalObjectReference) (
	[]string, error,
) {
	var sessions []v1alpha1.SessionConfig
	key := client.ObjectKey{Namespace: namespace, Name: ref.Name}
	var err error
	if ref.Kind == v1alpha1.BackupBatchKind {
		var batch v1alpha1.BackupBatch
		err = api.Get(ctx, key, &batch)
		sessions = policy.BatchSessions(&batch)
	} else {
		var configuration v1alpha1.BackupConfiguration
		err = api.Get(ctx, key, &configuration)
		sessions = policy.ConfigurationSessions(&configuration)
	}
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no %s %s in namespace %s: \"cairn get policies\" lists them",
			ref.Kind, ref.Name, namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", ref, err)
	}
	var out []string
	for _, s := range sessions {
		out = append(out, s.Name)
	}
	return out, nil
}

func sessionNames(args []string) command.NameReader {
	return func(ctx context.Context, api client.Client, namespace string) ([]string, error) {
		if len(args) == 0 {
			return nil, nil
		}
		ref, err := parseInvoker(args[0])
		if err != nil {
			return nil, err
		}
		return sessionsOf(ctx, api, namespace, ref)
	}
}

// trigger creates the BackupSession of this second, or finds it, and returns its name.
func trigger(
	ctx context.Context, o command.Options, api client.Client, namespace string, spec v1alpha1.BackupSessionSpec,
) (string, error) {
	ref, session := spec.Invoker, spec.Session
	known, err := sessionsOf(ctx, api, namespace, ref)
	if err != nil {
		return "", err
	}
	has := false
	for _, name := range known {
		has = has || name == session
	}
	switch list := strings.Join(known, ", "); {
	case session == "":
		return "", command.Usagef("say which session to run with --session: %s has %s", ref, list)
	case !has:
		return "", fmt.Errorf("%s has no session %s: it has %s", ref, session, list)
	}
	slot := metav1.NewTime(o.Clock.Now().Truncate(time.Second))
	spec.ScheduledTime = &slot
	wanted := v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}, Spec: spec}
	for _, name := range []string{
		policy.BackupSessionName(ref.Name, session, slot.Time),
		policy.QualifiedBackupSessionName(ref.Kind, namespace, ref.Name, session, slot.Time),
	} {
		object := wanted.DeepCopy()
		object.Name = name
		err := api.Create(ctx, object)
		if err == nil {
			fmt.Fprintf(o.Out, "backupsession/%s created\n", name)
			return name, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return "", fmt.Errorf("create BackupSession: %w", err)
		}
		var existing v1alpha1.BackupSession
		if err := api.Get(ctx, client.ObjectKeyFromObject(object), &existing); err != nil {
			return "", fmt.Errorf("get BackupSession %s: %w", name, err)
		}
		if existing.Spec.Invoker == ref && existing.Spec.Session == session &&
			existing.Spec.AcceptShrink == spec.AcceptShrink {
			fmt.Fprintf(o.Out, "backupsession/%s exists already: this session was started a moment ago\n", name)
			return name, nil
		}
	}
	return "", fmt.Errorf("the names for a run of %s in this second are taken: try again", ref)
}

// followBackup waits for the end of a BackupSession.
func followBackup(
	ctx context.Context, o command.Options, api client.Client, key client.ObjectKey,
	timeout time.Duration,
) error {
	return command.Follow(ctx, o, "backupsession/"+key.Name, timeout,
		func(ctx context.Context) (command.Progress, error) {
			var s v1alpha1.BackupSession
			if err := api.Get(ctx, key, &s); err != nil {
				return command.Progress{}, err
			}
			p := command.Progress{Phase: string(s.Status.Phase), Ended: s.Status.Phase.Terminal()}
			p.AddWait(len(s.Status.Targets) > 0, get.ReadyMessage(s.Status.Conditions))
			for _, t := range s.Status.Targets {
				p.Parts = append(p.Parts, command.Part{Name: "target " + t.Name + ": ", Text: command.TargetState(t)})
			}
			p.Parts = append(p.Parts, command.BackupHookErrors(&s)...)
			if p.Ended {
				p.End = command.Ending(p.Phase, s.Status.Reason, s.Status.Duration, get.NotReady(s.Status.Conditions))
				p.Warning = get.Lacks(s.Lack())
			}
			return p, nil
		})
}
