package backupsession

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/csi"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// Two workloads of one application mount one ReadWriteMany volume. Each is backed up from a copy of its own, so neither
// takes the copy of the other along when it ends.
func TestTargetsThatShareAVolumeHaveCopiesOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, order := range []v1alpha1.ExecutionOrder{v1alpha1.ExecutionSequential, v1alpha1.ExecutionParallel} {
		t.Run(string(order), func(t *testing.T) {
			t.Parallel()
			w := sharing(t, order, "web", "worker")
			made := map[string]string{}
			s := w.settleSlowly("run", made)
			w.Expect(summary(s)).To(Equal([]string{
				"Succeeded/Succeeded", "web: Succeeded/Succeeded", "worker: Succeeded/Succeeded",
			}))
			w.Expect(made).To(HaveLen(2))
			for _, claim := range made {
				w.Expect(claim).To(Equal("media"))
			}
		})
	}
}

// sharing returns a world with a run of Deployments that share a volume, of which Cairn backs up copies.
func sharing(t *testing.T, order v1alpha1.ExecutionOrder, names ...string) *world {
	t.Helper()
	w := newWorld(t)
	w.CSI = &csi.Driver{}
	csi.Classes(t, w.Client)
	claim := sessiontest.Claim(w.Namespace, "media")
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	csi.Volume(t, w.Client, claim)
	sessiontest.Create(t, w.Client, claim)
	b := &v1alpha1.BackupBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop"},
		Spec: v1alpha1.BackupBatchSpec{
			Backends: []v1alpha1.BackendReference{w.backend()},
			Sessions: []v1alpha1.BackupBatchSession{{
				SessionConfig: v1alpha1.SessionConfig{Name: "nightly"}, ExecutionOrder: order,
			}},
		},
	}
	for _, name := range names {
		app := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: name}
		labels := map[string]string{"app": name}
		sessiontest.Create(t, w.Client, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
			Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: sessiontest.PodSpec("", "media"),
				},
			},
		}, sessiontest.Pod(w.Namespace, name+"-0", "node-a", "media", labels),
			sessiontest.Repository(w.Namespace, "shop-"+name, w.Storage, app))
		b.Spec.Targets = append(b.Spec.Targets, v1alpha1.BatchTarget{Name: name, AppRef: app})
		b.Spec.Sessions[0].Targets = append(b.Spec.Sessions[0].Targets, v1alpha1.BatchSessionTarget{
			Name: name, Addon: addon("workload-addon"),
			CopySettings: v1alpha1.CopySettings{CopyMethod: v1alpha1.CopySnapshot},
			Repositories: []v1alpha1.RepositoryInfo{repository("shop-" + name)},
		})
	}
	b.Status.ObservedGeneration = 1
	sessiontest.Create(t, w.Client, b)
	w.children(b)
	w.run(v1alpha1.BackupBatchKind, "shop", "run", limited)
	return w
}

// settleSlowly is settle with a driver that needs some rounds for a VolumeSnapshot, and with a snapshot controller that
// holds each for some rounds by a finalizer, as the real one does. It adds to made which VolumeSnapshot was made of
// which claim.
func (w *world) settleSlowly(name string, made map[string]string) *v1alpha1.BackupSession {
	w.T.Helper()
	const finalizer = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection"
	age, going := map[types.UID]int{}, map[types.UID]int{}
	for range 60 {
		w.Reconcile(name)
		_, snapshots := w.copies()
		w.CSI.Hang = false
		for i := range snapshots {
			s := &snapshots[i]
			made[s.Name] = *s.Spec.Source.PersistentVolumeClaimName
			age[s.UID]++
			w.CSI.Hang = w.CSI.Hang || age[s.UID] < 3
			switch {
			case s.DeletionTimestamp == nil && len(s.Finalizers) == 0:
				s.Finalizers = []string{finalizer}
			case s.DeletionTimestamp != nil && going[s.UID] == 1:
				s.Finalizers = nil
			case s.DeletionTimestamp != nil:
				going[s.UID]++
				continue
			default:
				continue
			}
			w.Expect(w.Client.Update(w.T.Context(), s)).To(Succeed())
		}
		w.Cluster()
		if s := w.session(name); s.Status.Phase.Terminal() {
			return s
		}
	}
	return w.session(name)
}
