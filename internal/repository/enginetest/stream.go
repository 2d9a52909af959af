package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

func (c Config) stream(t *testing.T) {
	g, ctx, e := NewWithT(t), t.Context(), c.fresh(t)
	data := make([]byte, 12<<20)
	rand.New(rand.NewSource(1)).Read(data)
	s, err := e.Backup(ctx, repository.Source{Name: "db", Stream: bytes.NewReader(data), File: "dump.sql"}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Bytes).To(BeEquivalentTo(len(data)))
	var out bytes.Buffer
	g.Expect(e.RestoreStream(ctx, s.ID, &out)).To(Succeed())
	g.Expect(bytes.Equal(out.Bytes(), data)).To(BeTrue())

	boom := errors.New("dump program: exit status 1")
	for _, bad := range []error{boom, fmt.Errorf("wrapped: %w", io.EOF), io.ErrUnexpectedEOF} {
		_, err := e.Backup(ctx, repository.Source{Name: "db", Stream: io.MultiReader(bytes.NewReader(data), failingReader{bad})}, repository.BackupOptions{})
		g.Expect(err).To(And(MatchError(repository.ErrSource), MatchError(bad)))
	}
	l, err := e.List(ctx, "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ids(l)).To(Equal([]string{s.ID}), "a failed dump left a snapshot")
}

// failingReader is the end of a producer that failed.
type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// cancelingReader never ends; its after-th read calls cancel.
type cancelingReader struct {
	after  int
	cancel func()
}

func (s *cancelingReader) Read(p []byte) (int, error) {
	if s.after--; s.after == 0 {
		s.cancel()
	}
	return len(p), nil
}
