package restoresession

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/csi"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// once retries a restore once, after a minute.
func once(s *v1alpha1.RestoreSession) {
	s.Spec.RetryConfig = &v1alpha1.RetryConfig{MaxRetry: 1, Delay: metav1.Duration{Duration: time.Minute}}
}

// unreachable fails a component of an outcome after it was begun.
func unreachable(o kubelet.Outcome, component int) kubelet.Outcome {
	c := &o.Result.Components[component]
	o.Result.Outcome, o.Result.Reason = task.OutcomeFailed, v1alpha1.ReasonUnreachable
	c.Outcome, c.Reason, c.TargetWritten = task.OutcomeFailed, v1alpha1.ReasonUnreachable, true
	return o
}

// mounting makes a pod template without pods that mounts these volumes.
func mounting(volumes ...corev1.Volume) corev1.PodTemplateSpec {
	spec := sessiontest.PodSpec("", "unused")
	spec.NodeName, spec.Volumes, spec.Containers[0].VolumeMounts = "", volumes, nil
	for _, v := range volumes {
		spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts,
			corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}, Spec: spec,
	}
}

func ofClaim(name, claim string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}}
}

// twoClaims makes a restore write into a workload with the claims target and other.
func (w *world) twoClaims() func(*v1alpha1.RestoreSession) {
	w.T.Helper()
	template := mounting(ofClaim("a", "target"), ofClaim("b", "other"))
	sessiontest.Create(w.T, w.Client, sessiontest.Claim(w.Namespace, "other"),
		w.newSnapshot("both", v1alpha1.SnapshotSucceeded, 4, "a", "b"),
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "web"},
			Spec: appsv1.DeploymentSpec{
				Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: template.Labels},
				Template: template,
			},
		})
	return func(s *v1alpha1.RestoreSession) {
		s.Spec.Target = &v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "web"}
		s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "both"}
	}
}

// A volume that an earlier attempt restored can be in use by the time of the next.
func TestOfAHostOnlyWhatFailedIsRestoredAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
		if o := kubelet.Succeed(job); len(o.Result.Components) == 2 {
			return unreachable(o, 1)
		}
		return kubelet.Succeed(job)
	}
	w.restore("restore", once, w.twoClaims())
	w.Reconcile("restore")
	w.Cluster()
	w.Reconcile("restore")
	w.Expect(ending(w.session("restore"))).To(Equal("Running/Retrying"))
	w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
	w.Reconcile("restore")
	w.Expect(w.session("restore").Annotations[v1alpha1.AnnotationMovers]).NotTo(ContainSubstring(`"a"`),
		"nobody is allowed to report a component that is done")
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"), message(s))
	jobs := w.Jobs()
	w.Expect(jobs).To(HaveLen(2))
	for i := range jobs {
		work := kubelet.TaskOf(&jobs[i])
		if len(work.Components) == 2 { // the first attempt
			continue
		}
		w.Expect(work.Components).To(ConsistOf(And(HaveField("Name", "b"), HaveField("Resume", true))))
		for _, v := range jobs[i].Spec.Template.Spec.Volumes {
			if v.PersistentVolumeClaim != nil {
				w.Expect(v.PersistentVolumeClaim.ClaimName).To(Equal("other"), "what is done is not mounted")
			}
		}
	}
}

func TestAResumedRestoreOverwritesOnlyItsOwnVolume(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		between func(w *world)
		resume  bool
	}{
		"the same volume": {resume: true, between: func(*world) {}},
		"the claim was made again, and got a volume that existed": {between: func(w *world) {
			w.Expect(w.Client.Delete(w.T.Context(), w.claim("new"))).To(Succeed())
			w.releaseClaims()
			w.Reconcile("restore") // makes the claim again
			csi.BindStatic(w.T, w.Client, w.Namespace, "new")
		}},
		"the volume was replaced": {between: func(w *world) {
			volume := &corev1.PersistentVolume{}
			w.Expect(w.Client.Get(w.T.Context(), client.ObjectKey{Name: w.claim("new").Spec.VolumeName}, volume)).
				To(Succeed())
			w.Expect(w.Client.Delete(w.T.Context(), volume)).To(Succeed())
			before := volume.DeepCopy()
			before.Finalizers = []string{"kubernetes.io/pv-protection"}
			volume.Finalizers = nil
			w.Expect(client.IgnoreNotFound(w.Client.Patch(w.T.Context(), volume, client.MergeFrom(before)))).
				To(Succeed())
			volume.ResourceVersion, volume.UID, volume.DeletionTimestamp = "", "", nil
			w.Expect(w.Client.Create(w.T.Context(), volume)).To(Succeed())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
				if len(w.Jobs()) == 1 {
					return unreachable(kubelet.Succeed(job), 0)
				}
				return kubelet.Succeed(job)
			}
			w.restore("restore", newClaims("new"), once)
			w.Reconcile("restore")
			w.Expect(w.Jobs()).To(BeEmpty(), "the status must name the claim before a mover writes into it")
			csi.Bind(t, w.Client, w.Namespace, "new")
			w.Reconcile("restore")
			w.Expect(restoreOf(&w.Jobs()[0]).Group).To(BeTrue(), "the volume was made for the claim")
			w.Expect(w.session("restore").Status.Components["pvc"].ClaimUID).To(Equal(w.claim("new").UID))
			w.Cluster()
			w.Reconcile("restore")
			w.Expect(ending(w.session("restore"))).To(Equal("Running/Retrying"))
			w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
			tt.between(w)
			s := w.settle("restore")
			w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"), message(s))
			jobs := w.Jobs()
			w.Expect(jobs).To(HaveLen(2))
			resumed := 0
			for i := range jobs {
				if kubelet.TaskOf(&jobs[i]).Components[0].Resume {
					resumed++
				}
			}
			w.Expect(resumed == 1).To(Equal(tt.resume))
		})
	}
}

func TestAMoverGetsNoVolumeOfOthersForItsGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore("restore", newClaims("new"))
	w.Reconcile("restore")
	csi.BindStatic(t, w.Client, w.Namespace, "new")
	w.Reconcile("restore")
	w.Expect(restoreOf(&w.Jobs()[0]).Group).To(BeFalse(), "the kubelet would change the owners of what is in it")
}

func TestARestoreWhoseClaimWentIsNoSuccess(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"gone": false, "made again": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			template := mounting(corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
				EmptyDir: &corev1.EmptyDirVolumeSource{},
			}})
			sessiontest.Create(t, w.Client, sessiontest.Claim(w.Namespace, "data-db-0"),
				sessiontest.Claim(w.Namespace, "data-db-1"), &appsv1.StatefulSet{
					ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "db"},
					Spec: appsv1.StatefulSetSpec{
						Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: template.Labels},
						Template: template,
						VolumeClaimTemplates: []corev1.PersistentVolumeClaim{
							*sessiontest.Claim("", "data"),
						},
					},
				})
			w.restore("restore", func(s *v1alpha1.RestoreSession) {
				s.Spec.Target = &v1alpha1.TypedObjectReference{
					APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "db",
				}
				s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "pods"}
			})
			w.Reconcile("restore")
			w.Expect(w.Jobs()).To(HaveLen(2))
			w.Cluster()
			w.Expect(w.Client.Delete(t.Context(), w.claim("data-db-0"))).To(Succeed())
			w.releaseClaims()
			if again {
				sessiontest.Create(t, w.Client, sessiontest.Claim(w.Namespace, "data-db-0"))
			}
			s := w.settle("restore")
			w.Expect(ending(s)).To(Equal("Failed/TargetNotFound"))
			w.Expect(message(s)).To(ContainSubstring("PersistentVolumeClaim data-db-0 was deleted"))
			w.Expect(s.Status.Components["pod-1"].Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
			w.Expect(w.claim("data-db-1").Annotations).NotTo(HaveKey(v1alpha1.AnnotationRestored))
		})
	}
}
