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
	"github.com/cairn-backup/cairn/internal/policy"
)

const triggerExample = `  # Run the session hourly of the batch shop now, and wait for its end
  %[1]s trigger batch/shop --session hourly -n shop --wait

  # The same for a BackupConfiguration
  %[1]s trigger bc/uploads --session nightly -n shop`

func newTrigger(o Options) *cobra.Command {
	var session string
	var w waiting
	cmd := &cobra.Command{
		Use:     "trigger bc/NAME|batch/NAME --session SESSION",
		Short:   "Run a session of a policy now",
		Example: fmt.Sprintf(triggerExample, o.name()),
		Args:    argsBetween(1, 1, "bc/NAME|batch/NAME --session SESSION"),
	}
	c := newCluster(cmd, true)
	cmd.Flags().StringVar(&session, "session", "", "the session to run (required)")
	w.addFlags(cmd, "backup")
	cmd.ValidArgsFunction = c.completeFirst(invokerNames)
	c.completeFlag(cmd, "session", sessionNames)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := parseInvoker(args[0])
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
		name, err := trigger(cmd.Context(), o, api, namespace, ref, session)
		if err != nil || !w.wait {
			return err
		}
		return followBackup(cmd.Context(), o, api, client.ObjectKey{Namespace: namespace, Name: name}, w.timeout)
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
		return ref, usagef("%q is not a policy: write bc/NAME for a BackupConfiguration or batch/NAME for a BackupBatch", arg)
	}
	ref.Name = name
	return ref, nil
}

// sessionsOf returns the names of the sessions of an invoker.
func sessionsOf(ctx context.Context, api client.Client, namespace string, ref v1alpha1.TypedLocalObjectReference) (
	[]string, error) {
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
		return nil, fmt.Errorf("there is no %s %s in namespace %s: \"get policies\" lists them", ref.Kind, ref.Name,
			namespace)
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

func sessionNames(args []string) names {
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
func trigger(ctx context.Context, o Options, api client.Client, namespace string,
	ref v1alpha1.TypedLocalObjectReference, session string) (string, error) {
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
		return "", usagef("say which session to run with --session: %s has %s", ref, list)
	case !has:
		return "", fmt.Errorf("%s has no session %s: it has %s", ref, session, list)
	}
	slot := metav1.NewTime(o.Clock.Now().Truncate(time.Second))
	wanted := v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace},
		Spec:       v1alpha1.BackupSessionSpec{Invoker: ref, Session: session, ScheduledTime: &slot},
	}
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
		if existing.Spec.Invoker == ref && existing.Spec.Session == session {
			fmt.Fprintf(o.Out, "backupsession/%s exists already: this session was started a moment ago\n", name)
			return name, nil
		}
	}
	return "", fmt.Errorf("the names for a run of %s in this second are taken: try again", ref)
}

// followBackup waits for the end of a BackupSession.
func followBackup(ctx context.Context, o Options, api client.Client, key client.ObjectKey,
	timeout time.Duration) error {
	return follow(ctx, o, "backupsession/"+key.Name, timeout, func(ctx context.Context) (progress, error) {
		var s v1alpha1.BackupSession
		if err := api.Get(ctx, key, &s); err != nil {
			return progress{}, err
		}
		p := progress{phase: string(s.Status.Phase), ended: s.Status.Phase.Terminal()}
		if !p.ended && len(s.Status.Targets) == 0 {
			p.parts = []part{{text: waitingState(p.phase, readyMessage(s.Status.Conditions))}}
		}
		for _, t := range s.Status.Targets {
			p.parts = append(p.parts, part{"target " + t.Name + ": ", targetState(t)})
		}
		if p.ended {
			p.end = ending(p.phase, s.Status.Reason, s.Status.Duration, notReady(s.Status.Conditions))
		}
		return p, nil
	})
}

// waitingState describes a run or restore that has no parts yet.
func waitingState(p, message string) string {
	state := strings.ToLower(phase(p))
	if message != "" {
		state += ": " + message
	}
	return state
}

// ending says how long a run or restore took and, if it did not succeed, why.
func ending(phase, why, duration, message string) string {
	text := ""
	if duration != "" {
		text = " in " + duration
	}
	if phase == "Succeeded" {
		return text
	}
	return text + because(phase, why, strings.TrimPrefix(message, why+": "))
}
