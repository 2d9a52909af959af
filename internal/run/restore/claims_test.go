package restore

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestCheckIdentity(t *testing.T) {
	s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{UID: "restore"}}
	claim := func(change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data", UID: "u"}}
		if change != nil {
			change(c)
		}
		return c
	}
	ours := func(c *corev1.PersistentVolumeClaim) {
		c.Annotations = map[string]string{v1alpha1.AnnotationRestoreSession: "restore"}
	}
	frozen := v1alpha1.ResolvedRestoreVolume{ClaimName: "data", ClaimUID: "u"}
	made := v1alpha1.ResolvedRestoreVolume{ClaimName: "data", Template: 1}
	for name, tt := range map[string]struct {
		volume v1alpha1.ResolvedRestoreVolume
		claim  *corev1.PersistentVolumeClaim
		reason string
	}{
		"the frozen claim": {frozen, claim(nil), ""},
		"it was deleted":   {frozen, nil, v1alpha1.ReasonTargetNotFound},
		"it was recreated": {
			frozen, claim(func(c *corev1.PersistentVolumeClaim) { c.UID = "v" }), v1alpha1.ReasonTargetNotFound,
		},
		"a claim that the restore created": {made, claim(ours), ""},
		"a claim of somebody else":         {made, claim(nil), v1alpha1.ReasonNameConflict},
		"it has lost its volume": {frozen, claim(func(c *corev1.PersistentVolumeClaim) {
			c.Status.Phase = corev1.ClaimLost
		}), v1alpha1.ReasonVolumeNotBound},
	} {
		t.Run(name, func(t *testing.T) {
			refusal := CheckIdentity(s, &tt.volume, tt.claim)
			reason := ""
			if refusal != nil {
				reason = refusal.Reason
			}
			NewWithT(t).Expect(reason).To(Equal(tt.reason))
		})
	}
}

func TestCheckUnused(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}}
	pod := func(labels map[string]string) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "web-1", Labels: labels},
			Spec: corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
			}}}},
		}
	}
	other := v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Name: "other", UID: "other"},
		Status: v1alpha1.RestoreSessionStatus{
			Phase: v1alpha1.RestoreSessionRunning, Resolved: &v1alpha1.ResolvedRestore{
				Hosts: []v1alpha1.ResolvedRestoreHost{{Volumes: []v1alpha1.ResolvedRestoreVolume{{ClaimName: "data"}}}},
			},
		},
	}
	mover := pod(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByCairn})
	for name, tt := range map[string]struct {
		restores []v1alpha1.RestoreSession
		pods     []corev1.Pod
		confirm  string
		reason   string
		message  string
		mover    bool
	}{
		"nothing uses it": {},
		"another restore writes into it": {
			restores: []v1alpha1.RestoreSession{other}, reason: v1alpha1.ReasonRestoreInProgress,
			message: "RestoreSession other writes into PersistentVolumeClaim data",
		},
		"a pod of a workload uses it": {
			pods: []corev1.Pod{pod(nil)}, reason: v1alpha1.ReasonVolumeInUse, message: "spec.confirm: uid",
		},
		"a pod of a workload uses it, which is confirmed": {pods: []corev1.Pod{pod(nil)}, confirm: "uid"},
		"a mover uses it, whatever is confirmed": {
			pods: []corev1.Pod{mover}, confirm: "uid", reason: v1alpha1.ReasonVolumeInUse,
			message: "try again when the pod has ended", mover: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{UID: "restore"}}
			s.Spec.Confirm = tt.confirm
			refusal, mover := CheckUnused(s, &v1alpha1.ResolvedRestore{TargetUID: "uid"}, claim, tt.restores,
				tt.pods, false)
			g.Expect(mover).To(Equal(tt.mover))
			if tt.reason == "" {
				g.Expect(refusal).To(BeNil())
				return
			}
			g.Expect(refusal.Reason).To(Equal(tt.reason))
			g.Expect(refusal.Message).To(ContainSubstring(tt.message))
		})
	}
}
