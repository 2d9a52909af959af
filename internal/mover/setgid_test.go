package mover_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/internal/mover"
)

// TestASetGIDVolumeIsRestoredByItsUser checks volumes as an fsGroup makes them: the files get the group of their
// directory. In the group of a volume or not, the user gets back what the Snapshot has, or is told.
func TestASetGIDVolumeIsRestoredByItsUser(t *testing.T) {
	const own, fsGroup = 65534, 2000
	for name, tc := range map[string]struct {
		member             bool
		from, to           int // groups of the volumes
		group              uint32
		mode               uint32
		owners, otherAttrs int64 // that are lost
	}{
		"of the same group":    {member: true, from: fsGroup, to: fsGroup, group: fsGroup, mode: 0o2775},
		"of another group":     {member: true, from: own, to: fsGroup, group: own, mode: 0o2775},
		"back to the group":    {member: true, from: fsGroup, to: own, group: fsGroup, mode: 0o2775},
		"of a foreign group":   {from: own, to: fsGroup, group: own, mode: 0o2775},
		"from a foreign group": {from: fsGroup, to: own, group: own, mode: 0o2775, owners: 2},
		"within foreign groups": {
			from: fsGroup, to: fsGroup + 1, group: fsGroup + 1, mode: 0o775, owners: 2, otherAttrs: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if os.Geteuid() == 0 {
				home, groups := nobodysHome(t), []uint32(nil)
				for dir, group := range map[string]int{"from": tc.from, "to": tc.to} {
					dir = filepath.Join(home, dir)
					g.Expect(os.Mkdir(dir, 0o777)).To(Succeed())
					g.Expect(os.Chown(dir, 0, group)).To(Succeed())
					g.Expect(unix.Chmod(dir, 0o2777)).To(Succeed())
				}
				data := filepath.Join(home, "from/data")
				g.Expect(os.Mkdir(data, 0o777)).To(Succeed())
				g.Expect(os.WriteFile(filepath.Join(data, "file"), []byte("1"), 0o644)).To(Succeed())
				g.Expect(os.Chown(filepath.Join(data, "file"), own, tc.from)).To(Succeed())
				g.Expect(os.Chown(data, own, tc.from)).To(Succeed())
				g.Expect(unix.Chmod(data, 0o2775)).To(Succeed())
				if tc.member {
					groups = []uint32{fsGroup}
				}
				nobodyIn(t, home, groups...)
				return
			}
			p := initialised(t)
			p.mount("pvc", filepath.Join(os.Getenv("HOME"), "from"))
			c := p.backs("snap-1", nil, "")
			out := filepath.Join(os.Getenv("HOME"), "to")
			r := p.restores(c.ID, out, mover.Flags{SetID: true})
			for _, name := range []string{"data", "data/file"} {
				var st unix.Stat_t
				g.Expect(unix.Stat(filepath.Join(out, name), &st)).To(Succeed())
				g.Expect(st.Gid).To(Equal(tc.group), name)
				if name == "data" {
					g.Expect(st.Mode & 0o7777).To(Equal(tc.mode))
				}
			}
			// The root directory belongs to root: its owner, mode and time cannot be set.
			g.Expect([]int64{r.OwnersNotRestored - 1, r.AttributesNotRestored - 2}).
				To(Equal([]int64{tc.owners, tc.otherAttrs}))
		})
	}
}
