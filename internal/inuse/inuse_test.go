package inuse_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/inuse"
)

// A RestoreBatch keeps the Snapshots that it has not come to yet.
func TestARestoreBatchKeepsWhatItChose(t *testing.T) {
	g := NewWithT(t)
	b := v1alpha1.RestoreBatch{ObjectMeta: metav1.ObjectMeta{Namespace: "copy", Name: "back"}}
	b.Status.Resolved = &v1alpha1.ResolvedRestoreBatch{Namespace: "shop"}
	b.Status.Targets = []v1alpha1.RestoreTargetStatus{
		{Name: "web", Snapshot: "web-1", Phase: v1alpha1.RestoreSessionSucceeded}, {Name: "db", Snapshot: "db-1", Phase: v1alpha1.RestoreSessionPending},
	}
	by := func(namespace, name string) string {
		return inuse.Of(nil, []v1alpha1.RestoreBatch{b}).By(&v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	}
	g.Expect(by("shop", "db-1")).To(Equal("RestoreBatch copy/back"))
	g.Expect(by("shop", "web-1")).To(BeEmpty(), "it is restored")
	g.Expect(by("copy", "db-1")).To(BeEmpty(), "it is of another namespace")
	b.Status.Phase = v1alpha1.RestoreSessionFailed
	g.Expect(by("shop", "db-1")).To(BeEmpty(), "it has ended")
}
