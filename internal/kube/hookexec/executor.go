package hookexec

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/egress"
	"github.com/cairn-backup/cairn/internal/hook"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
)

// Executor carries out the hooks of sessions. Its fields never change.
type Executor struct {
	// Client reads HookTemplates and Namespaces.
	client.Client
	// APIReader reads past the cache.
	APIReader client.Reader
	// Config connects to the API server with the manager's own identity. Commands run with the identity of
	// HookServiceAccount.
	Config *rest.Config
	// Egress decides to which addresses requests can go. Nil has the built-in rules.
	Egress *egress.Policy

	session client.Object // nil unless For was called
}

// failure is a failed attempt with a reason.
type failure struct {
	reason, message, stderr string
	final                   bool
	// cut means that nobody knows whether what was begun has ended.
	cut bool
	// unbegun means that nothing was begun, and that this can pass.
	unbegun bool
}

func (f *failure) Error() string { return f.message }

// unreached returns a failure of an attempt that has done nothing yet.
func unreached(reason, format string, args ...any) error {
	return &failure{reason: reason, message: fmt.Sprintf(format, args...), unbegun: true}
}

// unbegun reports whether an attempt failed before it did anything, and this can pass. An error without a reason is one
// of the API server, before the attempt.
func unbegun(err error) bool {
	var f *failure
	return err != nil && (!errors.As(err, &f) || f.unbegun)
}

// refused returns a failure that no further attempt can fix.
func refused(reason, format string, args ...any) error {
	return &failure{reason: reason, message: fmt.Sprintf(format, args...), final: true}
}

// Execute makes one attempt of a hook of a session in namespace. If the hook acts in one pod and the run does not have
// that pod yet, the outcome has it, and nothing is done.
func (e *Executor) Execute(ctx context.Context, namespace string, run hookstage.Run) hookstage.Outcome {
	secrets := map[string]string{}
	pod, err := e.execute(ctx, namespace, run, secrets)
	var f *failure
	switch {
	case err == nil:
		return hookstage.Outcome{Pod: pod}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return hookstage.Outcome{Reason: v1alpha1.ReasonHookTimeout, Message: timeoutMessage(run.Hook)}
	case errors.Is(ctx.Err(), context.Canceled):
		return hookstage.Outcome{Reason: v1alpha1.ReasonCancelled, Message: "it was stopped"}
	case !errors.As(err, &f):
		f = &failure{reason: v1alpha1.ReasonFailed, message: err.Error(), unbegun: true}
	}
	out := hookstage.Outcome{
		Reason: f.reason, Message: hook.Redact(f.message, secrets), Stderr: hook.Redact(f.stderr, secrets),
		Final: f.final, Unbegun: f.unbegun && e.canWait(ctx, namespace, run.Stage),
	}
	if f.cut && run.Stage == hookstage.Pre { // A freeze must not end after its thaw. A thaw must not wait.
		out.Lingers = true
		out.Message += fmt.Sprintf("; it could go on, so Cairn waited until its timeout of %s had passed",
			run.Hook.Timeout.Duration)
	}
	return out
}

// canWait reports whether a hook of a stage is allowed to wait until it can begin. In a namespace that goes, nothing
// comes that it could wait for.
func (e *Executor) canWait(ctx context.Context, namespace string, stage hookstage.Stage) bool {
	if stage != hookstage.Post {
		return false
	}
	var ns corev1.Namespace
	err := e.Get(ctx, client.ObjectKey{Name: namespace}, &ns)
	return err == nil && ns.DeletionTimestamp == nil || err != nil && !apierrors.IsNotFound(err)
}

// cut reports whether nobody knows whether what was begun has ended.
func cut(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.cut
}

// timeoutMessage returns the message of an attempt that did not end in time. Kubernetes has no way to stop a command in
// a container.
func timeoutMessage(h *v1alpha1.ResolvedHook) string {
	message := fmt.Sprintf("it did not end within %s", h.Timeout.Duration)
	if h.Action != nil && h.Action.Exec != nil {
		message += "; the command can still run in its pod: let it limit its own time, for example with the program " +
			"timeout"
	}
	return message
}

// execute makes the attempt, or returns the pod in which it must be made. It fills secrets with the values that must
// stay secret.
func (e *Executor) execute(
	ctx context.Context, namespace string, run hookstage.Run, secrets map[string]string,
) (*v1alpha1.HookPod, error) {
	if run.Stage == hookstage.Pre {
		if err := e.mayUse(ctx, namespace, run.Hook.Template); err != nil {
			return nil, err
		}
	}
	values, err := e.values(ctx, namespace, run.Hook.Variables, secrets)
	if err != nil {
		return nil, err
	}
	rendered, err := hook.Render(run.Hook, values, run.Summary)
	if err != nil {
		return nil, refused(v1alpha1.ReasonInvalidHook, "%v", err)
	}
	if run.Hook.Executor.Type == v1alpha1.HookExecutorOperator {
		return nil, e.connect(ctx, rendered.Action, run.Hook.Action, nil)
	}
	return e.inPods(ctx, namespace, run, rendered)
}

// mayUse checks again whether the namespace is allowed to use a template. Hooks after the work must run, so they are
// not checked again. A deleted template was frozen while it was allowed.
func (e *Executor) mayUse(ctx context.Context, namespace string, ref v1alpha1.ObjectReference) error {
	var template v1alpha1.HookTemplate
	err := e.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, &template)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get HookTemplate %s/%s: %w", ref.Namespace, ref.Name, err)
	}
	err = access.MayUse(ctx, e, v1alpha1.HookTemplateKind, &template, template.Spec.UsagePolicy, namespace,
		v1alpha1.ReasonHookTemplateNotAllowed)
	if reason, message, ok := access.ReasonOf(err); ok {
		return refused(reason, "%s", message)
	}
	return err
}

// values reads the variables from Secrets and ConfigMaps.
func (e *Executor) values(
	ctx context.Context, namespace string, variables []v1alpha1.HookVariable, secrets map[string]string,
) (map[string]string, error) {
	out := map[string]string{}
	for _, v := range variables {
		var value string
		var err error
		switch from := v.ValueFrom; {
		case from.SecretKeyRef != nil:
			if value, err = e.secretValue(ctx, namespace, v.Name, from.SecretKeyRef); err == nil {
				secrets[v.Name] = value
			}
		case from.ConfigMapKeyRef != nil:
			value, err = e.configMapValue(ctx, namespace, v.Name, from.ConfigMapKeyRef)
		}
		if err != nil {
			return nil, err
		}
		out[v.Name] = value
	}
	return out, nil
}

// For returns an Executor for the hooks of a session.
func (e *Executor) For(session client.Object) *Executor {
	of := *e
	of.session = session
	return &of
}

// mayRead checks whether policy may use a Secret now.
func (e *Executor) mayRead(ctx context.Context, secret *corev1.Secret) error {
	var by []client.Object
	if e.session != nil {
		by = append(by, e.session)
	}
	err := access.MayUseSecret(ctx, e, secret, by...)
	if reason, message, ok := access.ReasonOf(err); ok {
		return unreached(reason, "%s", message) // the label can come
	}
	return err
}

func (e *Executor) secretValue(ctx context.Context, namespace, name string, ref *v1alpha1.KeySelector) (string, error) {
	var secret corev1.Secret
	err := e.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, &secret)
	if apierrors.IsNotFound(err) {
		return "", unreached(v1alpha1.ReasonSecretNotFound, "there is no Secret %s, which the variable %s names",
			ref.Name, name)
	}
	if err != nil {
		return "", fmt.Errorf("get Secret %s: %w", ref.Name, err)
	}
	if err := e.mayRead(ctx, &secret); err != nil {
		return "", err
	}
	value, ok := secret.Data[ref.Key]
	if !ok {
		return "", unreached(v1alpha1.ReasonInvalidSecret, "Secret %s has no key %s, which the variable %s names",
			ref.Name, ref.Key, name)
	}
	return string(value), nil
}

func (e *Executor) configMapValue(
	ctx context.Context, namespace, name string, ref *v1alpha1.KeySelector,
) (string, error) {
	var m corev1.ConfigMap
	err := e.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, &m)
	if apierrors.IsNotFound(err) {
		return "", unreached(v1alpha1.ReasonInvalidHook, "there is no ConfigMap %s, which the variable %s names",
			ref.Name, name)
	}
	if err != nil {
		return "", fmt.Errorf("get ConfigMap %s: %w", ref.Name, err)
	}
	value, ok := m.Data[ref.Key]
	if !ok {
		return "", unreached(v1alpha1.ReasonInvalidHook, "ConfigMap %s has no key %s, which the variable %s names",
			ref.Name, ref.Key, name)
	}
	return value, nil
}
