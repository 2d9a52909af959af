package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
)

// stream tests that streams are restored, also an empty one, and that unchanged data is not sent again.
func (c Config) stream(t *testing.T) {
	g, ctx, e := NewWithT(t), t.Context(), c.fresh(t)
	data := make([]byte, 12<<20)
	rand.New(rand.NewSource(1)).Read(data)
	var last repository.Progress
	s, err := e.Backup(ctx, repository.Source{Name: "db", Stream: bytes.NewReader(data), File: "dump.sql"},
		repository.BackupOptions{
			Tags: map[string]string{"snapshot-uid": "u"}, Progress: func(p repository.Progress) { last = p },
		})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Bytes).To(BeEquivalentTo(len(data)))
	g.Expect(s.Files).To(BeEquivalentTo(1))
	g.Expect(last).To(And(HaveField("FilesDone", BeEquivalentTo(1)), HaveField("BytesRead", BeEquivalentTo(len(data))),
		HaveField("BytesSent", BeNumerically(">=", len(data)))))
	g.Expect(e.FindByTags(ctx, map[string]string{"snapshot-uid": "u"})).To(HaveLen(1))
	var out bytes.Buffer
	g.Expect(e.RestoreStream(ctx, s.ID, &out)).To(Succeed())
	g.Expect(bytes.Equal(out.Bytes(), data)).To(BeTrue())
	entries, err := e.ReadDir(ctx, s.ID, "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(ConsistOf(And(HaveField("Name", "dump.sql"), HaveField("Size", BeEquivalentTo(len(data))))))

	// One more row at the beginning moves everything else.
	longer := append([]byte("one more row\n"), data...)
	again, err := e.Backup(ctx, repository.Source{Name: "db", Stream: iterated(longer), File: "dump.sql"},
		repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again.BytesSent).To(BeNumerically("<", s.BytesSent*3/4), "unchanged data is not sent again")
	out.Reset()
	g.Expect(e.RestoreStream(ctx, again.ID, &out)).To(Succeed())
	g.Expect(bytes.Equal(out.Bytes(), longer)).To(BeTrue())
	v, err := e.Verify(ctx, again.ID, 100)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(v.BytesRead).To(BeEquivalentTo(len(longer)))

	empty, err := e.Backup(ctx, repository.Source{Name: "empty", Stream: strings.NewReader("")},
		repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(empty.Bytes).To(BeZero())
	out.Reset()
	g.Expect(e.RestoreStream(ctx, empty.ID, &out)).To(Succeed())
	g.Expect(out.Bytes()).To(BeEmpty())
	g.Expect(e.RestoreStream(ctx, unknownID, &out)).To(MatchError(repository.ErrNotFound))
}

// failedStream tests that a producer that fails leaves no snapshot, even if it fails after its last byte.
func (c Config) failedStream(t *testing.T) {
	g, ctx, e := NewWithT(t), t.Context(), c.fresh(t)
	data := make([]byte, 12<<20)
	rand.New(rand.NewSource(1)).Read(data)
	boom := errors.New("dump program: exit status 1")
	accepted := false
	for _, bad := range []error{
		boom, fmt.Errorf("wrapped: %w", io.EOF), io.ErrUnexpectedEOF, context.DeadlineExceeded,
	} {
		s, err := e.Backup(
			ctx, repository.Source{Name: "db", Stream: io.MultiReader(bytes.NewReader(data), failingReader{bad})},
			repository.BackupOptions{
				Tags: map[string]string{"snapshot-uid": "u"}, Accept: func(repository.Snapshot) error {
					accepted = true
					return nil
				},
			})
		g.Expect(err).To(And(MatchError(repository.ErrSource), MatchError(bad)))
		g.Expect(s.ID).To(BeEmpty())
		_, err = e.Backup(ctx, repository.Source{Name: "db", Stream: failingReader{bad}}, repository.BackupOptions{})
		g.Expect(err).To(And(MatchError(repository.ErrSource), MatchError(bad)), "at once")
	}
	g.Expect(accepted).To(BeFalse(), "a partial stream is not offered for acceptance")
	g.Expect(e.List(ctx, "")).To(BeEmpty())
	g.Expect(e.FindByTags(ctx, map[string]string{"snapshot-uid": "u"})).To(BeEmpty())
	s, err := e.Backup(ctx, repository.Source{Name: "db", Stream: bytes.NewReader(data)}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.BytesSent).To(BeNumerically("<", len(data)/2), "the data of the failed backups is not sent again")
}

// brokenRestore tests that a failing target is not taken for a failing storage, and that a directory is no stream.
func (c Config) brokenRestore(t *testing.T) {
	g, ctx, e, src := NewWithT(t), t.Context(), c.fresh(t), t.TempDir()
	s, err := e.Backup(ctx, repository.Source{Name: "db", Stream: io.LimitReader(rand.New(rand.NewSource(2)), 12<<20)},
		repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	full := errors.New("connection refused by the database, broken pipe")
	w := &limitedWriter{room: 5 << 20, err: full}
	g.Expect(e.RestoreStream(ctx, s.ID, w)).
		To(And(MatchError(repository.ErrTarget), MatchError(full), Not(MatchError(repository.ErrUnreachable))))

	stop, cancel := context.WithCancel(ctx)
	w = &limitedWriter{room: 3 << 20, err: context.Canceled, then: cancel}
	g.Expect(e.RestoreStream(stop, s.ID, w)).To(MatchError(context.Canceled))

	Tree(t, src, 3)
	tree, err := e.Backup(ctx, repository.Source{Name: "tree", Dir: src}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.RestoreStream(ctx, tree.ID, io.Discard)).To(MatchError(ContainSubstring("not a snapshot of a stream")))
}

// canceledStream tests that a backup that is cancelled while it reads leaves no snapshot.
func (c Config) canceledStream(t *testing.T) {
	g, e := NewWithT(t), c.fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := e.Backup(ctx, repository.Source{Name: "db", Stream: &cancelingReader{after: 9, cancel: cancel}},
		repository.BackupOptions{})
	g.Expect(err).To(MatchError(repository.ErrCanceled))
	ctx, cancel = context.WithCancel(t.Context())
	_, err = e.Backup(
		ctx, repository.Source{Name: "db", Stream: &cancelingReader{after: 9, cancel: cancel, err: context.Canceled}},
		repository.BackupOptions{})
	g.Expect(err).To(MatchError(repository.ErrCanceled), "also if the producer itself returns the cancellation")
	ctx, cancel = context.WithCancel(t.Context())
	_, err = e.Backup(ctx,
		repository.Source{Name: "db", Stream: &cancelingReader{after: 9, cancel: cancel, err: io.EOF}},
		repository.BackupOptions{})
	g.Expect(err).To(Or(BeNil(), MatchError(repository.ErrCanceled)), "the end can come at the same time")
	g.Expect(e.List(t.Context(), "")).To(HaveLen(map[bool]int{true: 1, false: 0}[err == nil]))
}

// failingReader is the end of a producer that failed.
type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// iterated reads in pieces of odd sizes, like a pipe.
func iterated(b []byte) io.Reader { return &uneven{b: b} }

type uneven struct {
	b []byte
	n int
}

func (o *uneven) Read(p []byte) (int, error) {
	if len(o.b) == 0 {
		return 0, io.EOF
	}
	o.n++
	n := copy(p[:min(len(p), o.n*997%65536+1)], o.b)
	o.b = o.b[n:]
	return n, nil
}

// limitedWriter fails when it is full.
type limitedWriter struct {
	room int
	err  error
	then func()
}

func (l *limitedWriter) Write(b []byte) (int, error) {
	if l.room -= len(b); l.room >= 0 {
		return len(b), nil
	}
	if l.then != nil {
		l.then()
	}
	return 0, l.err
}

// cancelingReader calls cancel at its after-th read. It never ends unless it has an error.
type cancelingReader struct {
	after  int
	cancel func()
	err    error
}

func (s *cancelingReader) Read(p []byte) (int, error) {
	if s.after--; s.after == 0 {
		s.cancel()
		return len(p), s.err
	}
	return len(p), nil
}
