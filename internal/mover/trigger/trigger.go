// Package trigger creates the BackupSession of a slot, in the pod of a CronJob.
package trigger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/schedule"
)

// triggerWithin bounds the tries to reach the API server.
const triggerWithin = time.Minute

// Trigger creates the BackupSession of one slot.
type Trigger struct {
	// Client of the API server.
	Client dynamic.Interface
	// Namespace is the namespace of the invoker.
	Namespace string
	// Job is the name of the CronJob's Job, which contains the slot.
	Job string
	// CronJob is the name of the CronJob that the pod belongs to.
	CronJob string
	// InvokerKind, Invoker and Session say what to run.
	InvokerKind, Invoker, Session string
	// Retries is how often failed targets are tried again.
	Retries int
	// Now is the clock, for a Job whose name contains no slot.
	Now func() time.Time
	// Backoff is the delay between tries; once it reached its Cap, all delays have it. The zero value is a good one.
	Backoff wait.Backoff
}

// Run creates the BackupSession and returns its name. An existing BackupSession of the same invoker and session is a
// success: an earlier pod was killed after it created it.
func (t Trigger) Run(ctx context.Context) (string, error) {
	if err := t.check(); err != nil {
		return "", err
	}
	slot, ok := schedule.SlotFromJobName(t.Job)
	if !ok {
		slot = t.Now().UTC().Truncate(time.Second)
	}
	names := []string{
		policy.BackupSessionName(t.Invoker, t.Session, slot),
		policy.QualifiedBackupSessionName(t.InvokerKind, t.Namespace, t.Invoker, t.Session, slot),
	}
	ctx, cancel := context.WithTimeout(ctx, triggerWithin)
	defer cancel()
	for _, name := range names {
		ours, err := t.create(ctx, name, slot)
		if err != nil {
			return "", err
		}
		if ours {
			return name, nil
		}
	}
	return "", fmt.Errorf("create BackupSession: the names %s and %s are taken by other invokers", names[0], names[1])
}

// check refuses missing or wrong arguments.
func (t Trigger) check() error {
	var missing []string
	for name, value := range map[string]string{
		"namespace": t.Namespace, "--cronjob": t.CronJob, "--invoker": t.Invoker,
		"--session": t.Session,
	} {
		if value == "" {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) > 0:
		return fmt.Errorf("create BackupSession: %s is required", strings.Join(missing, ", "))
	case t.InvokerKind != v1alpha1.BackupConfigurationKind && t.InvokerKind != v1alpha1.BackupBatchKind:
		return fmt.Errorf("create BackupSession: unknown kind of invoker %q", t.InvokerKind)
	}
	return nil
}

// create creates the BackupSession and reports whether the one of that name is ours. It retries errors that can pass.
func (t Trigger) create(ctx context.Context, name string, slot time.Time) (ours bool, err error) {
	sessions := t.Client.Resource(v1alpha1.GroupVersion.WithResource("backupsessions")).Namespace(t.Namespace)
	backoff := t.Backoff
	if backoff.Steps == 0 {
		backoff = wait.Backoff{
			Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.2, Cap: 8 * time.Second, Steps: 20,
		}
	}
	var last error
	err = backoff.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		_, last = sessions.Create(ctx, t.object(name, slot),
			metav1.CreateOptions{FieldManager: v1alpha1.TriggerServiceAccount})
		if last == nil {
			ours = true
			return true, nil
		}
		if apierrors.IsAlreadyExists(last) {
			var found *unstructured.Unstructured
			if found, last = sessions.Get(ctx, name, metav1.GetOptions{}); last == nil {
				ours = t.same(found)
				return true, nil
			}
		}
		if Transient(last) {
			return false, nil
		}
		return false, last
	})
	if err != nil {
		if last != nil {
			err = last
		}
		return false, fmt.Errorf("create BackupSession %s: %w", name, err)
	}
	return ours, nil
}

// same reports whether a BackupSession is a run of the same session.
func (t Trigger) same(found *unstructured.Unstructured) bool {
	kind, _, _ := unstructured.NestedString(found.Object, "spec", "invoker", "kind")
	invoker, _, _ := unstructured.NestedString(found.Object, "spec", "invoker", "name")
	session, _, _ := unstructured.NestedString(found.Object, "spec", "session")
	return kind == t.InvokerKind && invoker == t.Invoker && session == t.Session
}

// Transient reports whether the same request can succeed a moment later. It is false if the API server understood and
// refused it.
func Transient(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsNotFound(err)
}

// object returns the BackupSession. It sets nothing that the controller decides.
func (t Trigger) object(name string, slot time.Time) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(),
		"kind":       v1alpha1.BackupSessionKind,
		"metadata": map[string]any{
			"name": name, "namespace": t.Namespace,
			"annotations": map[string]any{v1alpha1.AnnotationCronJob: t.CronJob},
			"labels": map[string]any{
				v1alpha1.LabelManagedBy:   v1alpha1.ManagedByCairn,
				v1alpha1.LabelInvokerKind: t.InvokerKind,
				v1alpha1.LabelInvokerName: policy.LabelValue(t.Invoker),
				v1alpha1.LabelSession:     t.Session,
			},
		},
		"spec": map[string]any{
			"invoker":       map[string]any{"apiGroup": v1alpha1.Group, "kind": t.InvokerKind, "name": t.Invoker},
			"session":       t.Session,
			"scheduledTime": slot.UTC().Format(time.RFC3339),
		},
	}}
	if t.Retries > 0 {
		_ = unstructured.SetNestedField(object.Object, int64(t.Retries), "spec", "retryLeft")
	}
	return object
}
