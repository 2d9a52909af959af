// Package sidecar adds the mover as a sidecar to the workloads whose backup policy asks for it, keeps its keys and its
// token up to date, and removes it once no policy asks for it. A request in its queue stands for one workload.
//
// A Reconciler is safe for concurrent use; one goroutine at a time reconciles a workload. Invariants: keys and token
// exist only while the workload has the sidecar, also if the manager is killed at any write
// (TestKilledAtAnyWriteItComesAndGoesWhole), and the sidecar does not change while it restores
// (TestASidecarThatRestoresIsLeftAlone). If somebody takes the sidecar and its label away while no manager runs, the
// keys stay: a manager remembers only what it has seen itself (TestKeysGoWithTheSidecarWhileItsPolicyIsUnknown).
package sidecar

import (
	"context"
	"fmt"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/workload"
)

// Reconciler keeps the sidecars of workloads.
type Reconciler struct {
	client.Client
	record.EventRecorder

	// APIReader reads workloads past the cache, which holds only their metadata.
	APIReader client.Reader
	// Clock measures the life of tokens.
	Clock clock.PassiveClock
	// MoverImage is the image of the sidecars.
	MoverImage string
	// ClusterName begins the directories of repositories for which policy names no directory.
	ClusterName string
	// Administrators are the namespaces whose defaults count for others.
	Administrators policy.Administrators
	// FieldManager owns the writes of Secrets and accounts. Workloads have another field manager: sidecar.FieldManager.
	FieldManager string
	// Account is the manager's ServiceAccount, "<namespace>:<name>". The owner of a namespace binds the sidecar's
	// ClusterRole to it.
	Account string
	// Changed receives the BackupConfigurations whose sidecar has changed.
	Changed chan<- event.GenericEvent

	// kept holds the workloads for which policy wants a sidecar, or which had something of ours at the last look that
	// succeeded. The keys are "<kind>/<namespace>/<name>".
	kept sync.Map
}

// workloadKinds are the kinds of workloads that can have a sidecar.
var workloadKinds = []string{v1alpha1.KindDeployment, v1alpha1.KindStatefulSet, v1alpha1.KindDaemonSet}

// podOwner is a workload that can have a sidecar, as the API server has it now.
type podOwner struct {
	client.Object
	gvk      schema.GroupVersionKind
	id       string
	target   workload.Target
	template *corev1.PodTemplateSpec
}

// requestOf returns the request for a workload. Its name is "<kind>/<name>".
func requestOf(kind, namespace, name string) ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKey{Namespace: namespace, Name: kind + "/" + name}}
}

// Reconcile brings the sidecar of one workload up to date.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	kind, name, _ := strings.Cut(req.Name, "/")
	l, err := r.update(ctx, kind, client.ObjectKey{Namespace: req.Namespace, Name: name})
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: l.after}, nil
}

// State returns the last known state of a workload's sidecar. It returns nil if there is none.
func (r *Reconciler) State(
	ctx context.Context, namespace string, target v1alpha1.TypedObjectReference,
) (*sidecar.State, error) {
	secret, err := r.secret(ctx, client.ObjectKey{Namespace: namespace, Name: sidecar.Name(target.Kind, target.Name)})
	if err != nil || secret == nil {
		return nil, err
	}
	if !ours(secret) {
		return &sidecar.State{Reason: v1alpha1.ReasonNameConflict, Message: takenBy(secret)}, nil
	}
	state := sidecar.StateOf(secret.Annotations)
	return &state, nil
}

// read reads a workload past the cache. It returns nil if the workload does not exist or is being deleted.
func (r *Reconciler) read(ctx context.Context, kind string, key client.ObjectKey) (*podOwner, error) {
	w := &podOwner{gvk: appsv1.SchemeGroupVersion.WithKind(kind), id: sidecar.Name(kind, key.Name)}
	switch kind {
	case v1alpha1.KindDeployment:
		w.target.Deployment = &appsv1.Deployment{}
		w.Object, w.template = w.target.Deployment, &w.target.Deployment.Spec.Template
	case v1alpha1.KindStatefulSet:
		w.target.StatefulSet = &appsv1.StatefulSet{}
		w.Object, w.template = w.target.StatefulSet, &w.target.StatefulSet.Spec.Template
	case v1alpha1.KindDaemonSet:
		w.target.DaemonSet = &appsv1.DaemonSet{}
		w.Object, w.template = w.target.DaemonSet, &w.target.DaemonSet.Spec.Template
	default:
		return nil, nil
	}
	err := read.Get(ctx, r.APIReader, key, w.Object)
	if apierrors.IsNotFound(err) || err == nil && !w.GetDeletionTimestamp().IsZero() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s %s: %w", kind, key, err)
	}
	w.GetObjectKind().SetGroupVersionKind(w.gvk) // the object that was read does not name its kind
	return w, nil
}

// from replaces the workload with the version that the API server has now.
func (w *podOwner) from(u *unstructured.Unstructured) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, w.Object); err != nil {
		return fmt.Errorf("convert %s: %w", w.describe(), err)
	}
	return nil
}

// describe names a workload for a message.
func (w *podOwner) describe() string {
	return w.gvk.Kind + " " + w.GetNamespace() + "/" + w.GetName()
}
