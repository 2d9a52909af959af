package keeper

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A removal finds data by the backup, by the UIDs of its Snapshot, and by the IDs of the data.
func TestWhatAnotherSnapshotNeeds(t *testing.T) {
	t.Parallel()
	snapshot := func(name, backup string, uid types.UID, rebuilt string, ids ...string) *v1alpha1.Snapshot {
		s := &v1alpha1.Snapshot{}
		s.Name, s.UID, s.Spec.SnapshotID = name, uid, backup
		s.Annotations = map[string]string{v1alpha1.AnnotationRebuilt: rebuilt}
		s.Status.Components = map[string]v1alpha1.Component{"unfinished": {}}
		for _, id := range ids {
			s.Status.Components[id] = v1alpha1.Component{ID: id}
		}
		return s
	}
	needs := NeedsOf([]*v1alpha1.Snapshot{
		snapshot("run", "01", "uid-run", "", "k-1", "k-2"), snapshot("again", "02", "uid-again", "uid-old", "k-3"),
		snapshot("bare", "", "uid-bare", "../x"),
	})
	for name, tt := range map[string]struct {
		deleted *v1alpha1.Snapshot
		want    string
	}{
		"nothing":                        {snapshot("s", "03", "uid-s", "", "k-4"), ""},
		"the backup":                     {snapshot("s", "01", "uid-s", ""), "run"},
		"a part of the data":             {snapshot("s", "03", "uid-s", "", "k-4", "k-2"), "run"},
		"what a scan made of it":         {snapshot("s", "03", "uid-old", ""), "again"},
		"what a scan made of it, too":    {snapshot("s", "03", "uid-s", "uid-old"), "again"},
		"what it was made of":            {snapshot("s", "03", "uid-s", "uid-run"), "run"},
		"it names no backup, and no UID": {snapshot("s", "", "", ""), ""},
		"both have a UID that is no UID": {snapshot("s", "04", "uid-s", "../x"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(needs.Of(tt.deleted)).To(Equal(tt.want))
		})
	}
}
