package access

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// FieldManager is the field manager of everything that this package applies.
const FieldManager = "cairn-manager"

// grantedFor is how long an applied account counts as present. Somebody can delete it, so it is applied again
// afterwards.
const grantedFor = 10 * time.Minute

// granted remembers when the accounts of each namespace were last applied.
var granted = memory{clock: clock.RealClock{}, at: map[grant]time.Time{}}

type grant struct {
	namespace types.UID
	account   string
}

type memory struct {
	clock clock.PassiveClock
	mu    sync.Mutex
	at    map[grant]time.Time
}

// fresh reports whether the grant was made within grantedFor.
func (m *memory) fresh(g grant) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.at[g]
	return ok && m.clock.Since(at) < grantedFor
}

// remember notes that the grant was made now, and forgets grants older than grantedFor.
func (m *memory) remember(g grant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for old, at := range m.at {
		if m.clock.Since(at) >= grantedFor {
			delete(m.at, old)
		}
	}
	m.at[g] = m.clock.Now()
}

// EnsureMover creates the ServiceAccount that the namespace's mover Jobs run as, bound to the ClusterRole cairn-mover.
// For each namespace it writes at most every ten minutes. It is safe for concurrent use.
func EnsureMover(ctx context.Context, c client.Client, namespace string) error {
	return ensureAccount(ctx, c, namespace, v1alpha1.MoverServiceAccount)
}

// EnsureSnapshotter does the same as EnsureMover for the Jobs that create VolumeSnapshots and the ClusterRole
// cairn-snapshotter.
func EnsureSnapshotter(ctx context.Context, c client.Client, namespace string) error {
	return ensureAccount(ctx, c, namespace, v1alpha1.SnapshotterServiceAccount)
}

// EnsureTrigger does the same as EnsureMover for the pods of CronJobs and the ClusterRole cairn-trigger.
func EnsureTrigger(ctx context.Context, c client.Client, namespace string) error {
	return ensureAccount(ctx, c, namespace, v1alpha1.TriggerServiceAccount)
}

// EnsureSidecar does the same as EnsureMover for the tokens of sidecars and the ClusterRole cairn-sidecar. No pod runs
// as this account.
func EnsureSidecar(ctx context.Context, c client.Client, namespace string) error {
	return ensureAccount(ctx, c, namespace, v1alpha1.SidecarServiceAccount)
}

func ensureAccount(ctx context.Context, c client.Client, namespace, name string) error {
	var ns corev1.Namespace
	if err := c.Get(ctx, client.ObjectKey{Name: namespace}, &ns); err != nil {
		return fmt.Errorf("get Namespace %s: %w", namespace, err)
	}
	g := grant{ns.UID, name}
	if granted.fresh(g) {
		return nil
	}
	labels := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn}
	account := corev1ac.ServiceAccount(name, namespace).WithLabels(labels)
	binding := rbacv1ac.RoleBinding(name, namespace).WithLabels(labels).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(name)).
		WithSubjects(rbacv1ac.Subject().WithKind(rbacv1.ServiceAccountKind).WithName(name).WithNamespace(namespace))
	if err := c.Apply(ctx, account, client.FieldOwner(FieldManager), client.ForceOwnership); err != nil {
		return fmt.Errorf("apply ServiceAccount %s/%s: %w", namespace, name, err)
	}
	if err := c.Apply(ctx, binding, client.FieldOwner(FieldManager), client.ForceOwnership); err != nil {
		return fmt.Errorf("apply RoleBinding %s/%s: %w", namespace, name, err)
	}
	granted.remember(g)
	return nil
}

// Privileged reports whether the Namespace allows movers that run as root or mount host paths.
func Privileged(ctx context.Context, c client.Reader, namespace string) (bool, error) {
	var ns corev1.Namespace
	if err := c.Get(ctx, client.ObjectKey{Name: namespace}, &ns); err != nil {
		return false, fmt.Errorf("get Namespace %s: %w", namespace, err)
	}
	return ns.Annotations[v1alpha1.AnnotationPrivilegedMovers] == "true", nil
}
