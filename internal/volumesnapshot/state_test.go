package volumesnapshot

import (
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestASnapshotThatWasTakenAgainIsNotTheBackup(t *testing.T) {
	at := time.Date(2026, 7, 1, 1, 0, 0, 400, time.UTC)
	content := func(handle string, at time.Time) *snapshotv1.VolumeSnapshotContent {
		out := &snapshotv1.VolumeSnapshotContent{
			Status: &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: &handle},
		}
		if !at.IsZero() {
			out.Status.CreationTime = new(at.UnixNano())
		}
		return out
	}
	was := v1alpha1.VolumeSnapshotterStats{
		SnapshotHandle:     "snap-1",
		VolumeSnapshotTime: &metav1.Time{Time: at.Truncate(time.Second)},
	}
	for name, tt := range map[string]struct {
		was     v1alpha1.VolumeSnapshotterStats
		content *snapshotv1.VolumeSnapshotContent
		want    string
	}{
		"the same snapshot":          {was, content("snap-1", at), ""},
		"a content without a time":   {was, content("snap-1", time.Time{}), ""},
		"a content without a status": {was, &snapshotv1.VolumeSnapshotContent{}, ""},
		"a record without a handle":  {v1alpha1.VolumeSnapshotterStats{}, content("snap-1", at), ""},
		"another name":               {was, content("snap-2", at), "snap-2, but the backup is snap-1"},
		"of the same name, a moment late": {
			was, content("snap-1", at.Add(time.Minute)),
			"taken at 2026-07-01T01:01:00Z, but the backup at 2026-07-01T01:00:00Z",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.want == "" {
				NewWithT(t).Expect(TakenAgain(tt.was, tt.content)).To(BeEmpty())
			} else {
				NewWithT(t).Expect(TakenAgain(tt.was, tt.content)).To(ContainSubstring(tt.want))
			}
		})
	}
}
