package ledger

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// A record that fits stays one file, byte for byte. A larger one continues in files of whole documents.
func TestFiles(t *testing.T) {
	g := NewWithT(t)
	session, snapshots := run()
	small, err := BackupRecord("production", session, snapshots)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(small).To(HaveLen(1))
	g.Expect(small[0].Content).NotTo(HavePrefix("#"))

	first := snapshots[0]
	snapshots = nil
	for i := range 500 {
		s := *first.DeepCopy()
		s.Name = fmt.Sprintf("%s-%03d", first.Name, i)
		for name, c := range s.Status.Components {
			c.Error = strings.Repeat("x", 10<<10)
			s.Status.Components[name] = c
		}
		snapshots = append(snapshots, s)
	}
	files, err := BackupRecord("production", session, snapshots)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(files)).To(BeNumerically(">", 5))
	g.Expect(Count(files)).To(Equal(1))
	again, err := BackupRecord("production", session, snapshots)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).To(Equal(files))
	names := map[string]bool{}
	for i, f := range files {
		g.Expect(len(f.Content)).To(BeNumerically("<=", maxFile+100))
		g.Expect(f.Content).To(HavePrefix(
			fmt.Sprintf("# File %d of %d of the record of BackupSession ", i+1, len(files))))
		g.Expect(f.Object).To(Equal(small[0].Object))
		if i == 0 {
			g.Expect(f.Path).To(Equal(small[0].Path))
		} else {
			g.Expect(f.Path).To(Equal(strings.TrimSuffix(small[0].Path, ".yaml") + fmt.Sprintf(".%d.yaml", i+1)))
		}
		for text := range strings.SplitSeq(f.Content, "\n"+separator) {
			var d document
			g.Expect(yaml.UnmarshalStrict([]byte(text), &d)).To(Succeed())
			g.Expect(d.Metadata.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationRecord, "production"))
			names[d.Kind+"/"+d.Metadata.Name] = true
		}
	}
	g.Expect(names).To(HaveLen(501), "every document is in a file")
}

// What an earlier version left in an outbox fits into files, too.
func TestFilesOfAnEarlierVersion(t *testing.T) {
	g := NewWithT(t)
	session, snapshots := run()
	r, err := one(BackupRecord("production", session, snapshots))
	g.Expect(err).NotTo(HaveOccurred())
	single := r.Content
	r.Content = strings.TrimSuffix(strings.Repeat(single+separator, (9<<20)/len(single)), separator)
	files, err := r.Files()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(files)).To(BeNumerically(">=", 9))
	var all strings.Builder
	for i, f := range files {
		_, rest, _ := strings.Cut(f.Content, "\n")
		if i > 0 {
			all.WriteString(separator)
		}
		all.WriteString(rest)
	}
	g.Expect(all.String() == r.Content).To(BeTrue(), "no byte is lost")
}

// An object whose YAML is far larger than its JSON is cut, and its record says so.
func TestCut(t *testing.T) {
	for name, text := range map[string]string{
		"one long text": strings.Repeat("a\n", 1<<20), "of many bytes each": strings.Repeat("ö", 4<<20),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			session, snapshots := run()
			for name, c := range snapshots[0].Status.Components {
				c.Error, c.SizeBytes = text, 1<<53+1
				snapshots[0].Status.Components[name] = c
			}
			files, err := BackupRecord("production", session, snapshots)
			g.Expect(err).NotTo(HaveOccurred())
			var all string
			for _, f := range files {
				g.Expect(len(f.Content)).To(BeNumerically("<=", maxDocument+100))
				all += f.Content
			}
			g.Expect(all).To(ContainSubstring(
				v1alpha1.AnnotationRecordCut + ": each text after 4096 bytes, where … stands\n"))
			g.Expect(all).To(ContainSubstring("sizeBytes: 9007199254740993\n"), "numbers stay as they are")
		})
	}
	t.Run("many entries", func(t *testing.T) {
		g := NewWithT(t)
		session, snapshots := run()
		components := snapshots[0].Status.Components
		for i := range 40000 {
			components[fmt.Sprintf("pod-%d", i)] = v1alpha1.Component{Error: strings.Repeat("x", 200)}
		}
		files, err := BackupRecord("production", session, snapshots)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(files[0].Content).To(MatchRegexp(`list\s+and\s+map\s+after\s+200\s+entries`))
	})
}

func TestContinuation(t *testing.T) {
	g := NewWithT(t)
	g.Expect(continuation("records/shop/a-0d9ab5f3.yaml", 2)).To(Equal("records/shop/a-0d9ab5f3.2.yaml"))
	long := continuation("records/shop/"+strings.Repeat("a", maxName)+"-0d9ab5f3.yaml", 12)
	g.Expect(long).To(MatchRegexp(`^records/shop/a{238}-0d9ab5f3\.12\.yaml$`))
}

// A parcel whose only record is too large for a ConfigMap is spread over several.
func TestParts(t *testing.T) {
	g := NewWithT(t)
	p := Parcel{Name: "ledger-outbox-1", Data: make([]byte, 2*partSize+1)}
	parts := p.Parts()
	g.Expect(parts).To(HaveLen(3))
	g.Expect(PartName(p.Name, 1)).To(Equal(p.Name))
	g.Expect(PartName(p.Name, 3)).To(Equal("ledger-outbox-1-3"))
}
