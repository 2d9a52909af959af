package mover

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover/failure"
	"github.com/cairn-backup/cairn/internal/task"
)

// volumeRestore makes the claims of all components. Then it waits for the volumes of those claims that are bound
// without a pod. A claim that an earlier mover of the same restore made is accepted. It deletes nothing and reports
// only the Result: what the manager sees of a claim counts.
func (m *Mover) volumeRestore(ctx context.Context, t task.Task, flags Flags) task.Result {
	p := &provisioning{m.objectMaker(t, corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"))}
	p.makeAll(func(c task.Component) (types.UID, *failure.Failure) { return p.make(ctx, c.Claim.Object) }, p.end)
	for _, c := range p.pending() {
		if !c.Claim.Wait {
			p.end(c, nil) // its volume comes with its first pod
		}
	}
	p.wait(ctx, flags.WaitTimeout, func(late bool) {
		for _, c := range p.pending() {
			p.look(ctx, c, late)
		}
	}, func(f *failure.Failure) {
		for _, c := range p.pending() {
			p.end(c, f)
		}
	})
	return summary(p.results(), "restored")
}

// volumeMount succeeds at once: its pod runs only if all claims are mounted.
func (m *Mover) volumeMount(t task.Task) task.Result {
	var results []task.ComponentResult
	for _, c := range t.Components {
		results = append(results, task.ComponentResult{Name: c.Name, Outcome: task.OutcomeSucceeded})
	}
	return summary(results, "mounted")
}

// provisioning is the work of a mover that makes claims.
type provisioning struct{ objectMaker }

// make creates a claim, or finds the one that this restore made.
func (p *provisioning) make(ctx context.Context, claim *corev1.PersistentVolumeClaim) (types.UID, *failure.Failure) {
	uid, err := p.create(ctx, claim)
	if err == nil {
		return uid, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return "", classifyClaim(ctx, claim.Name, err)
	}
	found, err := p.get(ctx, claim.Name)
	switch {
	case err != nil:
		return "", classifyClaim(ctx, claim.Name, err)
	case !ours(found, claim):
		return "", failure.New(v1alpha1.ReasonNameConflict,
			fmt.Sprintf("PersistentVolumeClaim %s exists already, and this restore did not create it", claim.Name))
	}
	p.m.Log.Info("an earlier mover has created it", "claim", claim.Name)
	return found.UID, nil
}

// ours reports whether this restore made a claim.
func ours(found, wanted *corev1.PersistentVolumeClaim) bool {
	key, from := v1alpha1.AnnotationRestoreSession, found.Spec.DataSource
	return found.DeletionTimestamp == nil && found.Annotations[key] != "" &&
		found.Annotations[key] == wanted.Annotations[key] &&
		from != nil && from.Kind == wanted.Spec.DataSource.Kind && from.Name == wanted.Spec.DataSource.Name
}

func (p *provisioning) get(ctx context.Context, name string) (*corev1.PersistentVolumeClaim, error) {
	u, err := p.client.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return typed[corev1.PersistentVolumeClaim](u)
}

// look ends a component once its claim has reached a final state, or when it is late.
func (p *provisioning) look(ctx context.Context, c task.Component, late bool) {
	name := c.Claim.Object.Name
	claim, err := p.get(ctx, name)
	switch {
	case apierrors.IsNotFound(err) || err == nil && (claim.UID != p.made[c.Name] || claim.DeletionTimestamp != nil):
		p.end(
			c, failure.New(v1alpha1.ReasonTargetNotFound,
				fmt.Sprintf("PersistentVolumeClaim %s was deleted while it waited for its volume", name)))
	case err != nil && late:
		p.end(c, failure.New(v1alpha1.ReasonVolumeNotBound, fmt.Sprintf("get PersistentVolumeClaim %s: %v", name, err)))
	case err != nil:
	case claim.Status.Phase == corev1.ClaimBound:
		p.end(c, nil)
	case claim.Status.Phase == corev1.ClaimLost:
		p.end(c, failure.New(v1alpha1.ReasonVolumeNotBound,
			fmt.Sprintf("PersistentVolumeClaim %s has lost its volume", name)))
	case late:
		p.end(c, failure.New(v1alpha1.ReasonVolumeNotBound, fmt.Sprintf(
			"PersistentVolumeClaim %s has no volume after %s: check its storage class and CSI driver, or raise the "+
				"parameter "+
				"waitTimeout", name, p.m.Now().Sub(p.began).Round(time.Second))))
	}
}

// end completes a component. It leaves out the times, because all components share the small room of a Result.
func (p *provisioning) end(c task.Component, f *failure.Failure) {
	r := ended(task.ComponentResult{Name: c.Name}, f, p.began, p.m.Now())
	r.StartTime, r.CompletionTime = nil, nil
	p.done[c.Name] = r
}

// classifyClaim returns why the API server refused a claim.
func classifyClaim(ctx context.Context, name string, err error) *failure.Failure {
	switch {
	case ctx.Err() != nil:
		return interruptedFailure()
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
		return failure.New(v1alpha1.ReasonQuotaExceeded, fmt.Sprintf("create PersistentVolumeClaim %s: %v", name, err))
	default:
		return failure.New(v1alpha1.ReasonJobFailed, fmt.Sprintf("create PersistentVolumeClaim %s: %v", name, err))
	}
}
