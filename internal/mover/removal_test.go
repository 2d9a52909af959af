package mover_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/task"
)

// What was gone for certain and comes back later is deleted without an order.
func TestAKeeperRemembersWhatWasRemoved(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one", "two")
	data, before := filepath.Join(p.root, "cairn/storage/backups/shop/web/kopia"), t.TempDir()
	g.Expect(os.CopyFS(before, os.DirFS(data))).To(Succeed())
	code, r := p.run(t.Context(), keepTask("one"))
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.held()).To(Equal([]string{"uid-two", "uid-two"}))
	p.remove("cairn/storage/backups/shop/web/kopia")
	g.Expect(os.CopyFS(data, os.DirFS(before))).To(Succeed())
	g.Expect(p.held()).To(HaveLen(4), "it came back")

	code, r = p.run(t.Context(), keepTask())
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.held()).To(Equal([]string{"uid-two", "uid-two"}))
}

// The manager gives a removal up and says that the data stays: somebody asked for that, or the namespace goes. No later
// keeper has an order to remove it, and a scan finds it.
func TestAGivenUpRemovalDeletesNothing(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one", "two", "three")
	times := 100 // as if the keeper was stopped before it had removed anything
	p.mover.Driver = comesBack{kopia.Driver{}, &times}
	_, r := p.run(t.Context(), keepTask("one"))
	g.Expect(r.Reason).To(Equal(v1alpha1.ReasonRemovalPending))

	p.mover.Driver = kopia.Driver{}
	for _, work := range []task.Task{keepTask(), keepTask("two")} {
		work.Keep[0].Maintain = task.MaintainQuick
		code, r := p.run(t.Context(), work)
		g.Expect(code).To(BeZero(), "%+v", r)
	}
	g.Expect(p.held()).To(Equal([]string{"uid-one", "uid-one", "uid-three", "uid-three"}), "nobody asked for one")
	found, _ := p.scanned(t)
	g.Expect(found).To(HaveLen(2))
	g.Expect(found).To(HaveKey("one"))

	work := keepTask()
	work.Time = &metav1.Time{Time: time.Now().AddDate(1, 0, 0)}
	code, r := p.run(t.Context(), work)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.held()).To(HaveLen(4), "nor a year later")
}
