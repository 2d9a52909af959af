package task

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Scan tells where the answer to a scan is. A termination message has no room for it, so it is in pages: ConfigMaps of
// the Job's namespace. The digest is in the termination message, which only the kubelet can write: nobody else can
// forge a page.
type Scan struct {
	// Pages is the number of ConfigMaps. PageName names them.
	Pages int `json:"pages"`
	// Digest of all pages, in order.
	Digest string `json:"digest,omitempty"`
	// Unreadable is the number of component results in the backend that could not be understood.
	Unreadable int32 `json:"unreadable,omitempty"`
	// Unknown is the number of backups in the repository that belong to no Snapshot.
	Unknown int32 `json:"unknown,omitempty"`
}

// Limits of a scan.
const (
	// MaxPages bounds the pages of a scan. They have room for more than 50,000 components.
	MaxPages = 16
	// pageBytes is the compressed size after which a page ends. A ConfigMap holds 1 MiB.
	pageBytes = 700 << 10
	// flushEvery is the text after which the compressed size is looked at.
	flushEvery = 64 << 10
	// maxPageText bounds the text of a page.
	maxPageText = 64 << 20
)

// PageKey is the key of a page in the binaryData of its ConfigMap.
const PageKey = "found.json.gz"

// PageName returns the name of the ConfigMap with a page of a Job's answer. The admission policy cairn-mover-pages
// allows a mover no other name.
func PageName(job string, page int) string { return job + "-found-" + strconv.Itoa(page) }

func (s *Scan) limit() {
	s.Pages = min(max(s.Pages, 0), MaxPages)
	s.Unreadable, s.Unknown = max(s.Unreadable, 0), max(s.Unknown, 0)
}

// Found is a Snapshot as it lies in a repository.
type Found struct {
	// Name and UID that it had when it was made.
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
	// Labels that it had.
	Labels map[string]string `json:"labels,omitempty"`
	// Spec that it had, as far as the backend tells.
	Spec v1alpha1.SnapshotSpec `json:"spec"`
	// Total is the number of components that it has when it is complete; 0 means unknown.
	Total int32 `json:"total,omitempty"`
	// Components that were found. One is Succeeded only if the repository has its data.
	Components map[string]v1alpha1.Component `json:"components"`
}

// ErrTooManyFound means that an answer does not fit into MaxPages.
var ErrTooManyFound = errors.New("the repository holds more Snapshots than a scan can report")

// PageWriter packs an answer into pages. It is not safe for concurrent use.
type PageWriter struct {
	// Write stores a page.
	Write func(page int, content []byte) error

	pages     int
	digest    []byte
	buffer    bytes.Buffer
	zip       *gzip.Writer
	unflushed int
}

// Add adds a Snapshot, and stores a page when it is full.
func (w *PageWriter) Add(f Found) error {
	line, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode found Snapshot: %w", err)
	}
	if w.zip == nil {
		w.zip = gzip.NewWriter(&w.buffer)
	}
	if _, err := w.zip.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("compress found Snapshot: %w", err)
	}
	if w.unflushed += len(line); w.unflushed < flushEvery {
		return nil
	}
	if err := w.zip.Flush(); err != nil {
		return fmt.Errorf("compress found Snapshot: %w", err)
	}
	if w.unflushed = 0; w.buffer.Len() < pageBytes {
		return nil
	}
	return w.end()
}

// Close stores the last page and returns the number of pages and their digest.
func (w *PageWriter) Close() (pages int, digest string, err error) {
	if w.zip != nil {
		if err := w.end(); err != nil {
			return 0, "", err
		}
	}
	return w.pages, hex.EncodeToString(w.digest), nil
}

func (w *PageWriter) end() error {
	if w.pages == MaxPages {
		return ErrTooManyFound
	}
	if err := w.zip.Close(); err != nil {
		return fmt.Errorf("compress found Snapshots: %w", err)
	}
	if err := w.Write(w.pages, bytes.Clone(w.buffer.Bytes())); err != nil {
		return err
	}
	w.digest = chain(w.digest, w.buffer.Bytes())
	w.pages, w.unflushed, w.zip = w.pages+1, 0, nil
	w.buffer.Reset()
	return nil
}

// chain returns the digest of pages from the digest of those before and the next page.
func chain(before, page []byte) []byte {
	sum := sha256.Sum256(append(bytes.Clone(before), page...))
	return sum[:]
}

// Matches reports whether pages are the answer that s tells of.
func (s *Scan) Matches(pages [][]byte) bool {
	var digest []byte
	for _, p := range pages {
		digest = chain(digest, p)
	}
	return len(pages) == s.Pages && hex.EncodeToString(digest) == s.Digest
}

// ReadPage calls each for every Snapshot on a page, until it returns an error.
func ReadPage(content []byte, each func(Found) error) error {
	zip, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("read page of a scan: %w", err)
	}
	text := &io.LimitedReader{R: zip, N: maxPageText}
	for d := json.NewDecoder(text); ; {
		var f Found
		switch err := d.Decode(&f); {
		case errors.Is(err, io.EOF) && text.N > 0:
			return nil
		case err != nil:
			return fmt.Errorf("read page of a scan: %w", err)
		}
		f.Total = min(max(f.Total, 0), math.MaxInt16)
		if err := each(f); err != nil {
			return err
		}
	}
}
