package enginetest

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// Comparers are the programs that OddTree and Compare need.
var Comparers = []string{"setfacl", "setfattr", "setcap", "rsync", "tar"}

// Needs skips a test if a program is missing.
func Needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs %s: apt-get install acl attr libcap2-bin rsync tar", p)
		}
	}
}

// Program runs a program that must succeed.
func Program(t testing.TB, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "%s %v: %s", name, args, out)
}

// Compare compares two trees with independent tools: rsync -aHAXS and tar --xattrs --acls.
func Compare(t testing.TB, a, b string) {
	t.Helper()
	g := NewWithT(t)
	out, err := exec.CommandContext(t.Context(), "rsync", "-aHAXSn", "--checksum", "--delete", "--itemize-changes",
		"--specials", "--devices", a+"/", b+"/").CombinedOutput()
	compared := false
	for line := range strings.Lines(string(out)) {
		// rsync can't name paths beyond PATH_MAX; tar compares those
		if strings.Contains(line, "overflows") || strings.Contains(line, "File name too long") ||
			strings.Contains(line, "IO error") || strings.Contains(line, "code 23") {
			compared = true
			continue
		}
		g.Expect(strings.TrimSpace(line)).To(BeEmpty(), "rsync sees a difference")
	}
	g.Expect(err == nil || compared).To(BeTrue(), "rsync: %v", err)
	g.Expect(tarList(t, b)).To(Equal(tarList(t, a)))
}

// tarList lists a tree with all metadata. It sorts the attributes, which come in the order of the inode.
func tarList(t testing.TB, dir string) []string {
	t.Helper()
	sh := `cd "$1" && tar --format=posix --sort=name --xattrs --xattrs-include='*' --acls --numeric-owner ` +
		`--pax-option=delete=atime,delete=ctime,exthdr.name=x -S -cf - . | ` +
		`tar --xattrs --xattrs-include='*' --acls --numeric-owner --full-time -tvvf -`
	out, err := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", sh, "-", dir).CombinedOutput()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "%.500s", out)
	var keep []string
	start := 0
	for l := range strings.SplitSeq(string(out), "\n") {
		if strings.HasPrefix(l, "tar:") {
			continue
		}
		keep = append(keep, l)
		if !strings.HasPrefix(l, "  x: ") {
			slices.Sort(keep[start : len(keep)-1])
			start = len(keep)
		}
	}
	return keep
}
