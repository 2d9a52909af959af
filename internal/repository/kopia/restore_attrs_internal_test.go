package kopia

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kopia/kopia/snapshot"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// A server of NFSv4 can discard the ACL of an entry when the mode is set, and reports nothing. The file system of this
// test has no such ACLs, so an error says when the restore sets one.
func TestAnACLOfNFSv4IsSetAfterTheMode(t *testing.T) {
	for name, tt := range map[string]struct {
		kind snapshot.EntryType
		at   treatment
	}{
		"of a file":                    {kind: snapshot.EntryTypeFile},
		"of a directory":               {kind: snapshot.EntryTypeDirectory},
		"of a directory with its mark": {kind: snapshot.EntryTypeDirectory, at: treatment{marked: true}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			at := filepath.Join(t.TempDir(), "entry")
			if tt.kind == snapshot.EntryTypeDirectory {
				g.Expect(os.Mkdir(at, 0o700)).To(Succeed())
			} else {
				g.Expect(os.WriteFile(at, nil, 0o600)).To(Succeed())
			}
			f, err := os.Open(at)
			g.Expect(err).NotTo(HaveOccurred())
			defer func() { _ = f.Close() }()
			fd := int(f.Fd())
			r := &restorer{e: &repoEngine{}}
			var modes []uint32 // after the ACL
			r.e.step = func() {
				if r.attrsLost.Load() > 0 {
					var st unix.Stat_t
					g.Expect(unix.Fstat(fd, &st)).To(Succeed())
					modes = append(modes, st.Mode&0o777)
				}
			}
			de := &snapshot.DirEntry{Type: tt.kind, Permissions: 0o751}
			rec := &record{xattrs: []xattr{{name: "system.nfs4_acl", value: "x"}}}
			if tt.kind == snapshot.EntryTypeDirectory {
				r.settleDir(fd, "entry", de, rec, tt.at)
			} else {
				r.setAttrs(place{fd: fd, rel: "entry"}, de, rec)
			}
			g.Expect(r.problems).To(ContainElement(HaveField("Err",
				MatchError(ContainSubstring("set attribute system.nfs4_acl")))))
			g.Expect(modes).NotTo(BeEmpty())
			g.Expect(modes).To(HaveEach(uint32(0o751)))
		})
	}
}
