package restorebatch

import (
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// holdsData makes movers find data in their target, and refuse it.
func holdsData(job *batchv1.Job) kubelet.Outcome {
	o := kubelet.Fail(v1alpha1.ReasonVolumeNotEmpty)
	for _, c := range kubelet.TaskOf(job).Components {
		o.Result.Components = append(o.Result.Components, task.ComponentResult{
			Name: c.Name, Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonVolumeNotEmpty, TargetUntouched: true,
		})
	}
	return o
}

// Months later somebody applies the same under another name. Nobody has looked at what the targets hold by then.
func TestARestoreBatchOfAnotherNameLooksAtItsTargets(t *testing.T) {
	t.Parallel()
	for want, now := range map[string]func(*batchv1.Job) kubelet.Outcome{
		"Succeeded/Succeeded of second":  kubelet.Succeed, // somebody has emptied them
		"Failed/TargetsFailed of second": holdsData,
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.restore("march")
			w.Expect(summary(w.settle("march"))).To(Equal(whole("second")))
			w.Outcome = now
			w.restore("october")
			w.Expect(summary(w.settle("october"))[0]).To(Equal(want))
		})
	}
	t.Run("when its Snapshots are gone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.restore("march")
		w.settle("march")
		w.Expect(w.Client.DeleteAllOf(t.Context(), &v1alpha1.Snapshot{}, client.InNamespace(w.Namespace))).To(Succeed())
		w.restore("october")
		w.Expect(summary(w.settle("october"))[0]).To(Equal("Invalid/SnapshotNotFound of "))
	})
}

// Its movers would find the data, or its claims would exist, and it would end while the workloads are down.
func TestARestoreBatchOfAnotherNameScalesNothing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		targets func(w *world) []v1alpha1.RestoreBatchTarget
		want    string
		over    client.Object
	}{
		"claims": {
			func(*world) []v1alpha1.RestoreBatchTarget {
				return []v1alpha1.RestoreBatchTarget{{Name: "web"}, {Name: "db"}}
			}, v1alpha1.ReasonConfirmationMissing, &corev1.PersistentVolumeClaim{},
		},
		"a workload": {func(w *world) []v1alpha1.RestoreBatchTarget {
			t := w.mountsClaim()
			t.Confirm = ""
			return []v1alpha1.RestoreBatchTarget{t}
		}, v1alpha1.ReasonConfirmationMissing, &appsv1.Deployment{}},
		"a database": {func(w *world) []v1alpha1.RestoreBatchTarget {
			b := &v1alpha1.RestoreBatch{}
			w.database()(b)
			return b.Spec.Targets[1:]
		}, v1alpha1.ReasonConfirmationMissing, &corev1.Service{}},
		"new claims": {func(w *world) []v1alpha1.RestoreBatchTarget {
			return []v1alpha1.RestoreBatchTarget{{Name: "web", Addon: &v1alpha1.AddonInfo{
				Name: "pvc-addon", Tasks: []v1alpha1.TaskReference{{
					Name: "logical-backup-restore", TargetVolumes: &v1alpha1.TargetVolumes{
						VolumeClaimTemplates: []v1alpha1.RestoreClaimTemplate{{
							Metadata: v1alpha1.ClaimMetadata{Name: "copy"},
							Spec:     sessiontest.Claim(w.Namespace, "copy").Spec,
						}},
					},
				}},
			}}}
		}, v1alpha1.ReasonNameConflict, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.gone(w.deployment("kubectl"))
			all := tt.targets(w)
			targets := func(b *v1alpha1.RestoreBatch) { b.Spec.Targets = slices.Clone(all) }
			w.restore("march", scalesWeb, targets)
			b := w.settle("march")
			w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%v", summary(b))
			before := w.generation()
			w.restore("october", scalesWeb, targets)
			b = w.settle("october")
			w.Expect(b.Status.Reason).To(Equal(tt.want), "%v", summary(b))
			w.Expect(w.generation()).To(Equal(before), "no workload was scaled")
			if tt.over == nil {
				return
			}
			// Somebody looks at the targets, and confirms that they can be overwritten.
			w.restore("over", scalesWeb, targets, func(b *v1alpha1.RestoreBatch) {
				for i := range b.Spec.Targets {
					w.Get(b.Spec.Targets[i].Name, tt.over)
					b.Spec.Targets[i].Confirm = string(tt.over.GetUID())
				}
			})
			b = w.settle("over")
			w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%v", summary(b))
			w.Expect(w.generation()).To(BeNumerically(">", before))
		})
	}
}
