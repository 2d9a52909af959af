package restorebatch

import (
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// mounting creates a Deployment that mounts the claim web. It returns the target of a RestoreBatch that it is, with its
// confirmation.
func (w *world) mounting() v1alpha1.RestoreBatchTarget {
	w.T.Helper()
	w.gone(w.deployment("kubectl"))
	return w.mountsClaim()
}

// mountsClaim lets the Deployment web mount the claim web. It returns the target as mounting does.
func (w *world) mountsClaim() v1alpha1.RestoreBatchTarget {
	w.T.Helper()
	d := &appsv1.Deployment{}
	w.Get("web", d)
	bed.Edit(w.T, d, func() {
		pod := &d.Spec.Template.Spec
		pod.Volumes = []corev1.Volume{{Name: "pvc", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "web"},
		}}}
		pod.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "pvc", MountPath: "/data"}}
	})
	return v1alpha1.RestoreBatchTarget{
		Name: "web", Confirm: string(d.UID), Target: &v1alpha1.TypedObjectReference{
			APIGroup: appsv1.GroupName, Kind: v1alpha1.KindDeployment, Name: "web",
		},
	}
}

// anew makes a claim again. Nothing is left of what it had, nor of who wrote it.
func (w *world) anew(name string) {
	w.T.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	w.Get(name, claim)
	w.Expect(w.Client.Delete(w.T.Context(), claim)).To(Succeed())
	sessiontest.Create(w.T, w.Client, sessiontest.Claim(w.Namespace, name))
}

func of(targets ...v1alpha1.RestoreBatchTarget) func(*v1alpha1.RestoreBatch) {
	return func(b *v1alpha1.RestoreBatch) { b.Spec.Targets = targets }
}

// db could not be restored the first time. The user confirms it anew, and leaves the Deployment in the list.
func TestAWorkloadWhoseConfirmationWasUsedIsNotScaledDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	web := w.mounting()
	claim := &corev1.PersistentVolumeClaim{}
	w.Get("db", claim)
	db := v1alpha1.RestoreBatchTarget{Name: "db", Confirm: string(claim.UID)}
	fails := true
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if fails && kubelet.TaskOf(job).RestoreSession.Name == "back-db" {
			return kubelet.Fail(v1alpha1.ReasonTargetUnwritable)
		}
		return kubelet.Succeed(job)
	}
	w.restore("back", scalesWeb, of(web, db))
	w.Expect(summary(w.settle("back"))).To(ConsistOf(HavePrefix("Failed/"), HavePrefix("web: Succeeded/"),
		HavePrefix("db: Failed/")))

	fails = false
	before := w.generation()
	db.Confirm += "/2"
	w.restore("more", scalesWeb, of(web, db))
	b := w.settle("more")
	w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonConfirmationUsed), "%v", summary(b))
	w.Expect(b.Status.Conditions).To(ContainElement(HaveField("Message", And(
		HavePrefix("PersistentVolumeClaim web has the annotation backup.cairn.dev/confirmed"),
		ContainSubstring("with confirm: "+web.Confirm+"/2 for this target")))))
	w.Expect(w.generation()).To(Equal(before), "nobody has touched the application")
	w.Expect(w.children()).To(HaveLen(2), "only those of the first RestoreBatch")
}

// A GitOps tool makes an old RestoreBatch again. Since then the user has restored something else over it.
func TestAnOldRestoreBatchOfAWorkloadScalesNothing(t *testing.T) {
	t.Parallel()
	for name, stamp := range map[string]func(claim *corev1.PersistentVolumeClaim, march string){
		"of this version": func(*corev1.PersistentVolumeClaim, string) {},
		// It left no confirmation behind, and the stamp proves nothing.
		"of an earlier version": func(claim *corev1.PersistentVolumeClaim, march string) {
			delete(claim.Annotations, v1alpha1.AnnotationConfirmed)
			claim.Annotations[v1alpha1.AnnotationRestored] = restore.ParseStamp(march).Digest
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			march := w.mounting()
			june := march
			june.DeleteExtraFiles = true
			w.restore("march", scalesWeb, of(march))
			w.Expect(w.settle("march").Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
			claim := &corev1.PersistentVolumeClaim{}
			w.Get("web", claim)
			ofMarch := claim.Annotations[v1alpha1.AnnotationRestored]
			w.restore("june", scalesWeb, of(june))
			w.Expect(w.settle("june").Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
			w.forget("march")
			claim = &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "web"}}
			bed.Edit(t, claim, func() { stamp(claim, ofMarch) })

			before := w.generation()
			w.restore("march", scalesWeb, of(march))
			b := w.settle("march")
			w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonConfirmationUsed), "%v", summary(b))
			w.Expect(w.generation()).To(Equal(before), "nobody has touched the application")
		})
	}
}

// Its RestoreSession is skipped, so the confirmation of a workload that still has its data stops nobody.
func TestAWorkloadThatHasItsDataDoesNotStopTheOtherTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	targets := of(w.mounting(), v1alpha1.RestoreBatchTarget{Name: "uploads"})
	w.restore("back", scalesWeb, targets)
	w.Expect(w.settle("back").Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
	w.forget("back")
	w.anew("uploads")
	w.restore("back", scalesWeb, targets)
	b := w.settle("back")
	w.Expect(summary(b)[1:]).To(Equal([]string{
		"web: Skipped/AlreadyRestored of ", "uploads: Succeeded/Succeeded of third",
	}))
	w.Expect(b.Status.ScaledDown).To(HaveLen(1))
}

// The claims of a workload remember its confirmation. Where all were made anew, they hold nothing that it was about.
func TestAConfirmationCountsAgainForAWorkloadWithNewClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	web := w.mounting()
	w.restore("back", scalesWeb, of(web))
	w.Expect(w.settle("back").Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
	w.forget("back")
	w.anew("web")
	w.restore("back", scalesWeb, of(web))
	b := w.settle("back")
	w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%v", summary(b))
	w.Expect(b.Status.ScaledDown).To(HaveLen(1))
}

// A GitOps tool makes an old RestoreBatch again where the targets were made anew: nobody has looked at these.
func TestAConfirmationOfAnotherObjectScalesNothing(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]func(w *world) v1alpha1.RestoreBatchTarget{
		"claim": func(w *world) v1alpha1.RestoreBatchTarget {
			w.gone(w.deployment("kubectl"))
			return v1alpha1.RestoreBatchTarget{Name: "web"}
		},
		"workload": func(w *world) v1alpha1.RestoreBatchTarget { return w.mounting() },
		"database": func(w *world) v1alpha1.RestoreBatchTarget {
			w.gone(w.deployment("kubectl"))
			b := &v1alpha1.RestoreBatch{}
			w.database()(b)
			return b.Spec.Targets[1]
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			confirmed := target(w)
			confirmed.Confirm = "of-before/2"
			before := w.generation()
			w.restore("back", scalesWeb, of(v1alpha1.RestoreBatchTarget{Name: "uploads"}, confirmed))
			b := w.settle("back")
			w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonConfirmationWrong), "%v", summary(b))
			w.Expect(b.Status.Conditions).To(ContainElement(HaveField("Message", HavePrefix(
				"confirm names of-before/2, but "))))
			w.Expect(w.generation()).To(Equal(before), "nobody has touched the application")
			w.Expect(w.children()).To(BeEmpty())
		})
	}
}

// Its RestoreSession waits a minute for it.
func TestAConfirmedWorkloadCanComeLater(t *testing.T) {
	t.Parallel()
	for _, kind := range workloadKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			web := w.mounting()
			web.Target.Name, web.Target.Kind = "later", kind
			w.restore("back", scalesWeb, of(web))
			for range 10 {
				w.Reconcile("back")
			}
			w.Expect(summary(w.batch("back"))).To(ConsistOf(
				HavePrefix("Running/"), HavePrefix("web: Pending/TargetNotFound")))
		})
	}
}

// Somebody has mixed up the UIDs of two targets. Nothing is scaled and no hook runs, but the third one was overwritten.
func TestAWrongConfirmationRefusesAllTargets(t *testing.T) {
	t.Parallel()
	const missing = "00000000-0000-0000-0000-000000000000"
	for name, tt := range map[string]struct {
		confirm func(uid map[string]string) map[string]string
		says    string
	}{
		"two are mixed up": {
			confirm: func(uid map[string]string) map[string]string {
				return map[string]string{"web": uid["uploads"], "uploads": uid["web"], "db": uid["db"]}
			},
			says: "but PersistentVolumeClaim/web has the UID ",
		},
		"the last one is wrong, and no other one is confirmed": {
			confirm: func(map[string]string) map[string]string { return map[string]string{"db": missing} },
			says:    "but PersistentVolumeClaim/db has the UID ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			uid := map[string]string{}
			for _, name := range names {
				claim := &corev1.PersistentVolumeClaim{}
				w.Get(name, claim)
				uid[name] = string(claim.UID)
			}
			w.restore("back", func(b *v1alpha1.RestoreBatch) {
				for i := range b.Spec.Targets {
					b.Spec.Targets[i].Confirm = tt.confirm(uid)[b.Spec.Targets[i].Name]
				}
			})
			b := w.settle("back")
			w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonConfirmationWrong), "%v", summary(b))
			w.Expect(conditions.GetMessage(b, meta.ReadyCondition)).To(ContainSubstring(tt.says))
			w.Expect(w.children()).To(BeEmpty(), "nothing was written")
		})
	}
}

// A target that still has what was restored is left as it is, whatever the confirmation of it says by now. One that is
// used stops its own target alone.
func TestOnlyAWrongConfirmationStopsTheOtherTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	claim := &corev1.PersistentVolumeClaim{}
	w.Get("web", claim)
	web := v1alpha1.RestoreBatchTarget{Name: "web", Confirm: string(claim.UID)}
	w.restore("back", of(web, v1alpha1.RestoreBatchTarget{Name: "uploads"}))
	w.Expect(w.settle("back").Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
	w.anew("uploads")
	w.restore("more", of(web, v1alpha1.RestoreBatchTarget{Name: "uploads"}))
	w.Expect(summary(w.settle("more"))[1:]).To(Equal([]string{
		"web: Invalid/ConfirmationUsed of third", "uploads: Succeeded/Succeeded of third",
	}))
}
