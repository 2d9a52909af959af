package volumesnapshot

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOnlyAVolumeThatWasMadeForAClaimHasItsData(t *testing.T) {
	made := time.Date(2026, 7, 1, 1, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		unbound, gone, static, chosen bool
		later                         time.Duration
		want                          string
	}{
		"no volume yet":                         {unbound: true, gone: true},
		"made for the claim":                    {later: time.Second},
		"made in the same second":               {},
		"gone":                                  {gone: true, want: "is gone"},
		"a volume that somebody created":        {static: true, later: time.Minute, want: "other data"},
		"by an API server whose clock is late":  {later: -10 * time.Second},
		"a volume made for an earlier claim":    {chosen: true, later: -time.Second, want: "other data"},
		"reserved by name for an earlier claim": {later: -time.Hour, want: "other data"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
				Name:              "again",
				CreationTimestamp: metav1.NewTime(made),
			}}
			if !tt.unbound {
				claim.Spec.VolumeName = "volume"
			}
			volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{
				Name: "volume", CreationTimestamp: metav1.NewTime(made.Add(tt.later)),
				Annotations: map[string]string{annotationProvisioned: "csi.example.com"},
			}}
			if tt.static {
				volume.Annotations = nil
			}
			if tt.chosen {
				volume.Annotations[annotationChosen] = "yes"
			}
			if tt.gone {
				volume = nil
			}
			if tt.want == "" {
				g.Expect(WrongVolume(claim, volume)).To(BeEmpty())
			} else {
				g.Expect(WrongVolume(claim, volume)).To(ContainSubstring(tt.want))
			}
		})
	}
}
