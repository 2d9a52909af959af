package mover_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
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

// A backup of the cluster brought the Snapshot back without its status, and so with another UID and no IDs. Somebody
// deletes it with deletionPolicy WipeOut. If the keeper says that its data was removed, it was.
func TestARemovalOfASnapshotThatCameBackIsNoFalseSuccess(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one", "two")
	data, before := filepath.Join(p.root, "cairn/storage/backups/shop/web/kopia"), t.TempDir()
	g.Expect(os.CopyFS(before, os.DirFS(data))).To(Succeed())
	work := keepTask("one")
	work.Keep[0].Remove[0].UID = "uid-of-the-copy"
	code, r := p.run(t.Context(), work)
	g.Expect(code).To(BeZero(), "%+v", r)
	found, answer := p.scanned(t)
	g.Expect(found).NotTo(HaveKey("one"))
	g.Expect(answer.Unknown).To(BeZero())
	g.Expect(p.held()).To(Equal([]string{"uid-two", "uid-two"}))
	g.Expect(p.files("removed")).To(Equal([]string{"uid-of-the-copy.yaml", "uid-one.yaml"}))

	p.remove("cairn/storage/backups/shop/web/kopia")
	g.Expect(os.CopyFS(data, os.DirFS(before))).To(Succeed())
	code, r = p.run(t.Context(), keepTask())
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.held()).To(Equal([]string{"uid-two", "uid-two"}), "what comes back of it goes again")
}

// A scan made the Snapshot again, under another name, and could not say what it holds: its object knows no IDs.
func TestARemovalFindsTheDataOfARebuiltSnapshotWithoutIDs(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one", "two")
	p.remove("cairn/storage/backups/shop/web/snapshots/one/logs.yaml")
	name := policy.RebuiltSnapshotName("one", string(repositoryTask().Repository.UID))
	work := keepTask(name)
	work.Keep[0].Remove[0].Rebuilt = "uid-one"
	code, r := p.run(t.Context(), work)
	g.Expect(code).To(BeZero(), "%+v", r)
	g.Expect(p.held()).To(Equal([]string{"uid-two", "uid-two"}))
	g.Expect(p.files("snapshots")).To(Equal([]string{"two"}))
	g.Expect(p.files("removed")).To(ConsistOf("uid-one.yaml", "uid-"+name+".yaml"))
}

// Whoever can write to the backend can have no other data removed, and no other file written or deleted.
func TestARemovalBelievesNoForgedResult(t *testing.T) {
	t.Parallel()
	const one = "cairn/storage/backups/shop/web/snapshots/one/"
	for name, tt := range map[string]struct {
		id, uid, rebuilt string
		// stays says that the file does.
		stays bool
	}{
		"the UID of another run's data":          {id: "01", uid: "uid-three"},
		"the same, as a scan made it":            {id: "01", uid: "uid-three", rebuilt: "uid-three"},
		"another UID, if a scan made the object": {id: "01", uid: "uid-two", rebuilt: "uid-one"},
		"another backup":                         {id: "02", uid: "uid-two", stays: true},
		"a path":                                 {id: "01", uid: "../../two"},
		"a path, as a scan made it":              {id: "01", uid: "../../two", rebuilt: "../../two"},
		"the name of a marker":                   {id: "01", uid: "repository"},
		"no UID":                                 {id: "01", uid: ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, p := NewWithT(t), backedUp(t, "one", "two")
			other := backupTask("three")
			other.Snapshot.Spec.BackupSession = "run-3"
			code, r := p.run(t.Context(), other)
			g.Expect(code).To(BeZero(), "%+v", r)
			p.write(one+"forged.yaml", p.read(one+"pvc.yaml"))
			p.rewrite(one+"forged.yaml", "component: pvc", "component: forged")
			p.rewrite(one+"forged.yaml", "snapshotUID: uid-one", fmt.Sprintf("snapshotUID: %q", tt.uid))
			p.rewrite(one+"forged.yaml", `snapshotID: "01"`, fmt.Sprintf("snapshotID: %q", tt.id))
			work := keepTask("one")
			work.Keep[0].Remove[0].Rebuilt = tt.rebuilt
			code, r = p.run(t.Context(), work)
			g.Expect(code).To(BeZero(), "%+v", r)
			g.Expect(p.held()).To(Equal([]string{"uid-three", "uid-two", "uid-two"}))
			g.Expect(p.files("removed")).To(Equal([]string{"uid-one.yaml"}))
			g.Expect(p.files("snapshots/one")).To(HaveLen(map[bool]int{true: 1}[tt.stays]))
			g.Expect(p.files("snapshots/two")).To(HaveLen(2))
		})
	}
}

func TestForgedUIDsHoldUpNoRemoval(t *testing.T) {
	t.Parallel()
	g, p := NewWithT(t), backedUp(t, "one")
	const one = "cairn/storage/backups/shop/web/snapshots/one/"
	for i := range 40 {
		name := fmt.Sprint("forged-", i)
		p.write(one+name+".yaml", p.read(one+"pvc.yaml"))
		p.rewrite(one+name+".yaml", "snapshotUID: uid-one", "snapshotUID: uid-"+name)
	}
	g.Expect(p.held()).To(ContainElement("uid-one"))
	_, r := p.run(t.Context(), keepTask("one"))
	g.Expect(r.Outcome).To(Equal(task.OutcomeSucceeded), r.Message)
	g.Expect(p.held()).NotTo(ContainElement("uid-one"))
}
