package kopia_test

import (
	"bytes"
	"context"
	"io"
	"math/rand"
	"sync"
	"testing"
	"time"

	"github.com/kopia/kopia/repo/blob"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/enginetest"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
)

// calendar is a clock that can be set forward, and that gives the blobs of a storage their times.
type calendar struct {
	mu      sync.Mutex
	ahead   time.Duration
	written map[blob.ID]time.Time
}

func (c *calendar) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *calendar) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// datedStore is a storage whose blobs have the times of a calendar.
type datedStore struct {
	blob.Storage
	c *calendar
}

// PutBlob implements blob.Storage.
func (d datedStore) PutBlob(ctx context.Context, id blob.ID, data blob.Bytes, o blob.PutOptions) error {
	err := d.Storage.PutBlob(ctx, id, data, o)
	at := d.c.now()
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	d.c.written[id] = at
	if o.GetModTime != nil {
		*o.GetModTime = at
	}
	return err
}

func (d datedStore) date(m blob.Metadata) blob.Metadata {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	if at, ok := d.c.written[m.BlobID]; ok {
		m.Timestamp = at
	}
	return m
}

// GetMetadata implements blob.Storage.
func (d datedStore) GetMetadata(ctx context.Context, id blob.ID) (blob.Metadata, error) {
	m, err := d.Storage.GetMetadata(ctx, id)
	return d.date(m), err
}

// ListBlobs implements blob.Storage.
func (d datedStore) ListBlobs(ctx context.Context, prefix blob.ID, each func(blob.Metadata) error) error {
	return d.Storage.ListBlobs(ctx, prefix, func(m blob.Metadata) error { return each(d.date(m)) })
}

// pausing calls pause with the number of each read.
type pausing struct {
	io.Reader
	reads int
	pause func(read int)
}

func (p *pausing) Read(b []byte) (int, error) {
	p.reads++
	p.pause(p.reads)
	return p.Reader.Read(b)
}

// backUpForDays backs up a dump that takes more than three days, with a full maintenance on each of them.
func backUpForDays(
	t *testing.T, d kopia.Driver, r repository.Repository, c *calendar, dump []byte, every time.Duration,
) (repository.Snapshot, error) {
	t.Helper()
	slow := &pausing{Reader: bytes.NewReader(dump), pause: func(read int) {
		if read < 60 || read > 62 {
			return
		}
		c.pass(26 * time.Hour)
		keeper := enginetest.Open(t, d, r)
		NewWithT(t).Expect(keeper.Maintain(t.Context(), repository.MaintainOptions{Full: true})).To(Succeed())
	}}
	return enginetest.Open(t, d, r).Backup(t.Context(), repository.Source{Name: "db", Stream: slow},
		repository.BackupOptions{CheckpointEvery: every})
}

// TestAStreamOfDaysKeepsItsData checks that maintenance leaves alone what a dump has written, however long it takes,
// and that no checkpoint remains.
func TestAStreamOfDaysKeepsItsData(t *testing.T) {
	t.Parallel()
	g, r, dump := NewWithT(t), initialized(t), make([]byte, 80<<20)
	rand.New(rand.NewSource(1)).Read(dump)
	d, c := dated()
	s, err := backUpForDays(t, d, r, c, dump, time.Nanosecond)
	g.Expect(err).NotTo(HaveOccurred())
	e := enginetest.Open(t, d, r)
	var got bytes.Buffer
	g.Expect(e.RestoreStream(t.Context(), s.ID, &got)).To(Succeed())
	g.Expect(bytes.Equal(got.Bytes(), dump)).To(BeTrue())
	g.Expect(kopia.Unfinished(t.Context(), e)).To(BeEmpty())
}

// TestAStreamThatLostDataIsNoSnapshot checks a dump that refers to data which maintenance drops before the next
// checkpoint.
func TestAStreamThatLostDataIsNoSnapshot(t *testing.T) {
	t.Parallel()
	g, ctx, r, dump := NewWithT(t), t.Context(), initialized(t), make([]byte, 80<<20)
	rand.New(rand.NewSource(1)).Read(dump)
	d, c := dated()
	e := enginetest.Open(t, d, r)
	old, err := e.Backup(ctx, repository.Source{Name: "db", Stream: bytes.NewReader(dump)}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Delete(ctx, old.ID)).To(Succeed())
	_, err = backUpForDays(t, d, r, c, dump, 1000*time.Hour)
	g.Expect(err).To(MatchError(repository.ErrCorrupt))
	e = enginetest.Open(t, d, r)
	g.Expect(e.List(ctx, "")).To(BeEmpty())
	s, err := e.Backup(ctx, repository.Source{Name: "db", Stream: bytes.NewReader(dump)}, repository.BackupOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.RestoreStream(ctx, s.ID, io.Discard)).To(Succeed())
}

// dated returns a driver whose clock, and that of its storage, is a calendar.
func dated() (kopia.Driver, *calendar) {
	c := &calendar{written: map[blob.ID]time.Time{}}
	return kopia.Driver{Now: c.now, Wrap: func(s blob.Storage) blob.Storage { return datedStore{s, c} }}, c
}
