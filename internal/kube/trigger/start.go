package trigger

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// start creates the run of a slot, unless the API server shows that it was created: the invoker that was read can be
// outdated.
func (k *Scheduler) start(
	ctx context.Context, v view, config *v1alpha1.SessionConfig, slot, now time.Time,
) error {
	live, ok := v.object.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("read %s: it is not an object", v.object.GetName())
	}
	if err := k.Reader.Get(ctx, client.ObjectKeyFromObject(v.object), live); err != nil {
		return fmt.Errorf("get %s %s: %w", v.kind, v.object.GetName(), err)
	}
	if live.GetUID() != v.object.GetUID() || live.GetGeneration() != v.object.GetGeneration() ||
		live.GetDeletionTimestamp() != nil {
		return fmt.Errorf("%s %s has changed: look at it again", v.kind, v.object.GetName())
	}
	is, _ := viewOf(live)
	if last := previousOf(*is.status, config.Name).LastScheduleTime; last != nil && !slot.After(last.Time) &&
		!v1alpha1.Ahead(last.Time, now) {
		return nil
	}
	_, err := k.create(ctx, v, config.Name, slot, retriesOf(config),
		policy.BackupSessionName(v.object.GetName(), config.Name, slot),
		policy.QualifiedBackupSessionName(v.kind, v.object.GetNamespace(), v.object.GetName(), config.Name, slot))
	return err
}

// retriesOf returns how often the failed part of a scheduled run is tried again.
func retriesOf(config *v1alpha1.SessionConfig) int32 {
	if config.RetryConfig == nil {
		return 0
	}
	return config.RetryConfig.MaxRetry
}

// startIfAsked starts the run that the annotation asks for, once for each value that differs from the last. A manager
// that is killed before it writes the status finds the run again by its name, which says how many changes came before.
func (k *Scheduler) startIfAsked(ctx context.Context, v view, now time.Time) error {
	value := v.object.GetAnnotations()[v1alpha1.AnnotationTrigger]
	name, _, _ := strings.Cut(value, "/")
	if len(value) > maxTrigger {
		value = policy.Digest(value)
	}
	if value == "" || value == *v.handled {
		return nil
	}
	var known []string
	for _, s := range v.sessions {
		known = append(known, s.Name)
		if s.Name != name {
			continue
		}
		o := v.object
		made, err := k.create(ctx, v, name, now, 0, policy.TriggeredSessionName(o.GetName(), name, string(o.GetUID()),
			*v.handled, value, strconv.FormatInt(*v.triggers, 10)))
		if err != nil {
			return err
		}
		*v.handled = value
		*v.triggers++
		k.Events.Eventf(o, corev1.EventTypeNormal, v1alpha1.ReasonTriggered,
			"started BackupSession %s, as the annotation %s asks for", made, v1alpha1.AnnotationTrigger)
		return nil
	}
	*v.handled = value
	*v.triggers++
	k.Events.Eventf(v.object, corev1.EventTypeWarning, v1alpha1.ReasonInvalidTrigger,
		"the annotation %s names no session: set it to one of %s, or to <session>/<token>",
		v1alpha1.AnnotationTrigger, strings.Join(known, ", "))
	return nil
}

// maxTrigger is the longest value of the annotation that status holds as it is; of a longer value it holds the digest.
const maxTrigger = 253

// create creates or finds a BackupSession under the first of the names that no other invoker or session uses, and
// returns its name.
func (k *Scheduler) create(
	ctx context.Context, v view, session string, at time.Time, retries int32, names ...string,
) (string, error) {
	invoker := v1alpha1.TypedLocalObjectReference{APIGroup: v1alpha1.Group, Kind: v.kind, Name: v.object.GetName()}
	slot := metav1.NewTime(at).Rfc3339Copy()
	for _, name := range names {
		wanted := &v1alpha1.BackupSession{
			ObjectMeta: metav1.ObjectMeta{Namespace: v.object.GetNamespace(), Name: name, Labels: map[string]string{
				v1alpha1.LabelManagedBy:   v1alpha1.ManagedByCairn,
				v1alpha1.LabelInvokerKind: v.kind,
				v1alpha1.LabelInvokerName: policy.LabelValue(v.object.GetName()),
				v1alpha1.LabelSession:     session,
			}},
			Spec: v1alpha1.BackupSessionSpec{
				Invoker: invoker, Session: session, ScheduledTime: &slot, RetryLeft: retries,
			},
		}
		err := k.Client.Create(ctx, wanted, client.FieldOwner(k.FieldManager))
		if apierrors.IsAlreadyExists(err) {
			found := &v1alpha1.BackupSession{}
			if err = k.Reader.Get(ctx, client.ObjectKeyFromObject(wanted), found); err == nil &&
				(found.Spec.Invoker != invoker || found.Spec.Session != session) {
				continue
			}
		}
		if err != nil {
			return "", fmt.Errorf("create BackupSession %s: %w", name, err)
		}
		return name, nil
	}
	return "", fmt.Errorf("create BackupSession of session %q: its names are in use: %s", session,
		strings.Join(names, ", "))
}
