package mover_test

import (
	"context"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

const provisioner = "restore-r-target"

// claimOf returns the claim that the Job provisioner makes.
func claimOf(namespace, name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{
			v1alpha1.AnnotationJob: provisioner, v1alpha1.AnnotationRestoreSession: "uid-restore",
			v1alpha1.AnnotationRestoring: "uid-restore",
		}},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: new("fast"),
			DataSource: &corev1.TypedLocalObjectReference{
				APIGroup: new("snapshot.storage.k8s.io"), Kind: "VolumeSnapshot",
				Name: name + "-1795154820",
			},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			},
		},
	}
}

// newProvisioning returns a mover that makes claims.
func newProvisioning(t testing.TB, wait bool, names ...string) *objectMaker {
	t.Helper()
	ns := namespace(t)
	work := task.Task{Kind: task.KindVolumeRestore, RestoreSession: &task.Object{Name: "r", UID: "uid-restore"}}
	for _, name := range names {
		work.Components = append(work.Components,
			task.Component{Name: name, Claim: &task.Claim{Object: claimOf(ns, name), Wait: wait}})
	}
	return newObjectMaker(t, ns, provisioner, work)
}

func bind(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	claim.Status.Phase = corev1.ClaimBound
	return bed.Client.Status().Update(ctx, claim)
}

func TestClaimsAreMadeTogetherAndAwaited(t *testing.T) {
	p := newProvisioning(t, true, "data", "logs")
	meanwhile(p, "data", bind)
	meanwhile(p, "logs", bind)
	result := p.run(t.Context(), time.Minute)
	p.Expect(result.Outcome).To(Equal(task.OutcomeSucceeded), result.Message)
	p.Expect(result.Components).To(HaveLen(2))
	var claim corev1.PersistentVolumeClaim
	p.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: p.namespace, Name: "logs"}, &claim)).To(Succeed())
	p.Expect(claim.Spec.DataSource.Name).To(Equal("logs-1795154820"))

	again := p.run(t.Context(), time.Minute)
	p.Expect(again.Outcome).To(Equal(task.OutcomeSucceeded), "another mover finds what this one made: "+again.Message)
}

func TestClaimsThatWaitForAPodAreNotAwaited(t *testing.T) {
	p := newProvisioning(t, false, "data")
	p.Expect(p.run(t.Context(), time.Nanosecond).Outcome).To(Equal(task.OutcomeSucceeded))
}

func TestWhatKeepsAClaimFromItsVolume(t *testing.T) {
	for name, tc := range map[string]struct {
		before    func(p *objectMaker)
		meanwhile func(context.Context, *corev1.PersistentVolumeClaim) error
		reason    string
	}{
		"nothing happens": {reason: v1alpha1.ReasonVolumeNotBound},
		"it is deleted": {
			reason: v1alpha1.ReasonTargetNotFound,
			meanwhile: func(ctx context.Context, c *corev1.PersistentVolumeClaim) error {
				return bed.Client.Delete(ctx, c)
			},
		},
		"it loses its volume": {
			reason: v1alpha1.ReasonVolumeNotBound,
			meanwhile: func(ctx context.Context, c *corev1.PersistentVolumeClaim) error {
				c.Status.Phase = corev1.ClaimLost
				return bed.Client.Status().Update(ctx, c)
			},
		},
		"another has its name": {reason: v1alpha1.ReasonNameConflict, before: func(p *objectMaker) {
			other := claimOf(p.namespace, "data")
			other.Annotations[v1alpha1.AnnotationRestoreSession] = "uid-other"
			p.Expect(bed.Client.Create(context.Background(), other)).To(Succeed())
		}},
		"it is of another VolumeSnapshot": {reason: v1alpha1.ReasonNameConflict, before: func(p *objectMaker) {
			other := claimOf(p.namespace, "data")
			other.Spec.DataSource.Name = "older"
			p.Expect(bed.Client.Create(context.Background(), other)).To(Succeed())
		}},
		"there is no room": {reason: v1alpha1.ReasonQuotaExceeded, before: fullQuota},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvisioning(t, true, "data")
			if tc.before != nil {
				tc.before(p)
			}
			if tc.meanwhile != nil {
				meanwhile(p, "data", tc.meanwhile)
			}
			result := p.run(t.Context(), 8*time.Second)
			p.Expect(result.Outcome).To(Equal(task.OutcomeFailed))
			p.Expect(result.Components[0].Reason).To(Equal(tc.reason), result.Message)
		})
	}
}

// A mover has half a minute to end, which is less than its last pause between two attempts.
func TestAMoverThatIsToldToStopAsksNoMore(t *testing.T) {
	p := newProvisioning(t, true, "data")
	fullQuota(p)
	// while it waits, from the eighth to the fifteenth second
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
	defer cancel()
	began := time.Now()
	p.Expect(p.run(ctx, time.Minute).Components[0].Reason).To(Equal(v1alpha1.ReasonCancelled))
	p.Expect(time.Since(began)).To(BeNumerically("<", 14*time.Second))
}

func fullQuota(p *objectMaker) { bed.ForbidClaims(p.TB, p.namespace, "none") }

func TestTheAdmissionPolicyOfClaims(t *testing.T) {
	ns := namespace(t)
	api := as(t, ns, v1alpha1.SnapshotterServiceAccount, provisioner+"-abcde").
		Resource(corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"))
	for name, tc := range map[string]struct {
		change  func(*corev1.PersistentVolumeClaim)
		refusal string
	}{
		"its own": {change: func(*corev1.PersistentVolumeClaim) {}},
		"of another Job": {func(c *corev1.PersistentVolumeClaim) {
			c.Annotations[v1alpha1.AnnotationJob] = "restore-r"
		}, "must name the Job"},
		"of no restore": {func(c *corev1.PersistentVolumeClaim) {
			delete(c.Annotations, v1alpha1.AnnotationRestoreSession)
		}, "must be the UID of the RestoreSession"},
		"of no VolumeSnapshot": {
			func(c *corev1.PersistentVolumeClaim) { c.Spec.DataSource = nil },
			"made from a VolumeSnapshot",
		},
		"of another claim": {func(c *corev1.PersistentVolumeClaim) {
			c.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "other"}
		}, "made from a VolumeSnapshot"},
		"of a volume": {func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "pv" }, "must not name a volume"},
		"with a finalizer": {
			func(c *corev1.PersistentVolumeClaim) { c.Finalizers = []string{"example.com/hold"} },
			"neither finalizers",
		},
		"in another namespace": {func(c *corev1.PersistentVolumeClaim) { c.Namespace = "default" }, "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			claim := claimOf(ns, "c-"+strings.ToLower(strings.ReplaceAll(name, " ", "-")))
			tc.change(claim)
			admitted(t, api, claim, tc.refusal)
		})
	}
}
