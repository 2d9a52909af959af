package ledger

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestSubject(t *testing.T) {
	object := func(namespace, phase string) Object {
		return Object{Kind: "BackupSession", Namespace: namespace, Name: "x", Phase: phase}
	}
	tests := map[string]struct {
		objects []Object
		want    string
	}{
		"one namespace": {
			[]Object{object("shop", "Succeeded"), object("shop", "Failed"), object("shop", "Succeeded")},
			"shop: 2 succeeded, 1 failed",
		},
		"two namespaces": {
			[]Object{object("shop", "Succeeded"), object("blog", "Skipped")}, "blog, shop: 1 succeeded, 1 skipped",
		},
		"a restore that could not work": {[]Object{object("shop", "Invalid")}, "shop: 1 invalid"},
		"more namespaces than fit": {
			[]Object{
				object(strings.Repeat("a", 30), "Succeeded"), object(strings.Repeat("b", 30), "Succeeded"),
				object("c", "Failed"),
			},
			strings.Repeat("a", 30) + " and 2 more: 2 succeeded, 1 failed",
		},
		"a namespace that does not fit": {
			[]Object{object(strings.Repeat("a", 63), "Succeeded")}, "1 result in 1 namespace",
		},
		"nothing but the page": {nil, "bring STATUS.md up to date"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, _, _ := strings.Cut(CommitMessage("c1", tt.objects), "\n")
			g.Expect(got).To(Equal(tt.want))
			g.Expect(len(got)).To(BeNumerically("<=", maxSubject))
		})
	}
}

func TestMessage(t *testing.T) {
	objects := []Object{
		{Kind: "RestoreSession", Namespace: "shop", Name: "drill", Phase: "Succeeded", Reason: "Succeeded"},
		{
			Kind: "BackupSession", Namespace: "shop", Name: "b", Phase: "Failed", Reason: "TargetsFailed",
			Revision: "main@sha1:2222",
		},
		{Kind: "BackupSession", Namespace: "blog", Name: "a", Phase: "Succeeded", Revision: "main@sha1:1111"},
		{Kind: "BackupSession", Namespace: "shop", Name: "c", Phase: "Succeeded", Revision: "main@sha1:1111"},
		{Kind: "BackupSession", Namespace: "shop", Name: "d", Phase: "Succeeded", Reason: "Partial"},
	}
	golden(t, "message.txt", CommitMessage("production", objects))
}

// A store cuts a message that is longer than 64 KiB.
func TestMessageIsNotCut(t *testing.T) {
	g := NewWithT(t)
	var objects []Object
	for i := range 2000 {
		objects = append(objects, Object{
			Kind: "BackupSession", Namespace: strings.Repeat("n", 63),
			Name:  fmt.Sprintf("%s-%04d", strings.Repeat("a", 248), i),
			Phase: "Failed", Reason: "TargetsFailed",
			Revision: fmt.Sprintf("%s@sha1:%040d", strings.Repeat("b", 200), i),
		})
	}
	text := CommitMessage("production", objects)
	g.Expect(len(text)).To(BeNumerically("<", 64<<10))
	c, ours := ParseMessage(text)
	g.Expect(ours).To(BeTrue())
	g.Expect(c.Cluster).To(Equal("production"))
	g.Expect(len(c.Objects)).To(BeNumerically(">", 50))
	g.Expect(text).To(ContainSubstring(fmt.Sprintf("\nand %d more\n", len(objects)-len(c.Objects))))
	g.Expect(c.Revisions).To(HaveLen(maxRevisions))
}

func TestMessageCannotBeForged(t *testing.T) {
	g := NewWithT(t)
	text := CommitMessage("c1", []Object{{
		Kind: "BackupSession", Namespace: "shop", Name: "b", Phase: "Failed", Reason: "x\nCairn-Cluster: other",
		Revision: "main@sha1:1\nCairn-Cluster: other",
	}})
	c, ours := ParseMessage(text)
	g.Expect(ours).To(BeTrue())
	g.Expect(c.Cluster).To(Equal("c1"))
}

func TestMessageIsBounded(t *testing.T) {
	g := NewWithT(t)
	var objects []Object
	for i := range 1000 {
		objects = append(objects, Object{
			Kind: "BackupSession", Namespace: "n", Name: fmt.Sprintf("%04d", i),
			Phase: "Succeeded",
		})
	}
	text := CommitMessage("c1", objects)
	g.Expect(text).To(ContainSubstring("\nand 800 more\n"))
	c, _ := ParseMessage(text)
	g.Expect(c.Objects).To(HaveLen(maxObjects))
}

func TestParseMessage(t *testing.T) {
	g := NewWithT(t)
	c, ours := ParseMessage(CommitMessage("c1", []Object{
		{Kind: "BackupSession", Namespace: "shop", Name: "b", Phase: "Failed", Reason: "TargetsFailed", Revision: "r2"},
		{Kind: "BackupSession", Namespace: "shop", Name: "c", Phase: "Succeeded", Revision: "r1"},
	}))
	g.Expect(ours).To(BeTrue())
	g.Expect(c).To(Equal(Commit{
		Subject: "shop: 1 succeeded, 1 failed", Cluster: "c1", Revisions: []string{"r1", "r2"},
		Objects: []Object{
			{Kind: "BackupSession", Namespace: "shop", Name: "b", Phase: "Failed", Reason: "TargetsFailed"},
			{Kind: "BackupSession", Namespace: "shop", Name: "c", Phase: "Succeeded"},
		},
	}))
	_, ours = ParseMessage("fix a typo\n\nin the README\n")
	g.Expect(ours).To(BeFalse())
}
