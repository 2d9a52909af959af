package kopia

import (
	"bytes"
	"slices"
	"testing"

	"github.com/kopia/kopia/repo/object"
	. "github.com/onsi/gomega"
)

// directoryWritten is what reaches kopia of a directory object.
type directoryWritten struct {
	bytes.Buffer
	object.Writer
	id    object.ID
	asked bool
}

func (w *directoryWritten) Write(p []byte) (int, error) { return w.Buffer.Write(p) }

func (w *directoryWritten) Result() (object.ID, error) {
	w.asked = true
	return w.id, nil
}

// TestADirectoryOfTheSameTextIsNotWritten checks what is written of a directory beside the text that it had in a
// previous snapshot.
func TestADirectoryOfTheSameTextIsNotWritten(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	before, err := object.ParseID("k1111")
	g.Expect(err).NotTo(HaveOccurred())
	after, err := object.ParseID("k2222")
	g.Expect(err).NotTo(HaveOccurred())
	const (
		notSound = "the same, but not sound"

		text  = `{"stream":"x","entries":[]}` + "\n"
		full  = `{"stream":"x","entries":[],"cairnStamps":"AAAAAAAAAAE="}` + "\n"
		other = `{"stream":"x","entries":[],"cairnStamps":"AAAAAAAAAAI="}` + "\n"
		more  = `{"stream":"x","entries":[{}],"cairnStamps":"AAAAAAAAAAE="}` + "\n"
	)
	for name, tc := range map[string]struct {
		previous, text string
		stamps         []uint64
		written        string // "" if the directory is that of the previous snapshot
	}{
		"the same":                {full, text, []uint64{1}, ""},
		"the same without stamps": {text, text, nil, ""},
		"no previous snapshot":    {"", text, []uint64{1}, full},
		"another stamp":           {other, text, []uint64{1}, full},
		"a stamp more":            {text, text, []uint64{1}, full},
		"a stamp less":            {full, text, nil, text},
		"another beginning":       {"[" + full[1:], text, []uint64{1}, full},
		"an entry less":           {more, text, []uint64{1}, full},
		"something behind it":     {full + " ", text, []uint64{1}, full},
		"its end is missing":      {full[:len(full)-1], text, []uint64{1}, full},
		"a text without an end":   {full, text[:10], []uint64{1}, text[:10]},
		notSound:                  {full, text, []uint64{1}, full},
	} {
		for _, size := range []int{1, 2, 7, 1000} {
			w := &directoryWritten{id: after}
			d := &dirWriter{
				Writer: w, stamps: &stamps{all: slices.Clone(tc.stamps)},
				sound: func(id object.ID) bool { return id == before && name != notSound },
			}
			if tc.previous != "" {
				d.before = &previousDir{id: before, text: []byte(tc.previous)}
			}
			for part := range slices.Chunk([]byte(tc.text), size) {
				g.Expect(d.Write(part)).To(Equal(len(part)))
			}
			id, err := d.Result()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(w.String()).To(Equal(tc.written), "%s, in parts of %d", name, size)
			g.Expect(w.asked).To(Equal(tc.written != ""), "%s, in parts of %d", name, size)
			g.Expect(id == before).To(Equal(tc.written == ""), "%s, in parts of %d", name, size)
		}
	}
}
