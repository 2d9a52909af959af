package task

import (
	"bufio"
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

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Limits of the pages of a scan. What a page becomes in memory must not depend on who wrote into the backend.
const (
	// MaxPages bounds the pages of a scan. They have room for more than 50,000 components.
	MaxPages = 16
	// pageBytes is the compressed size after which a page ends. A ConfigMap holds 1 MiB.
	pageBytes = 700 << 10
	// flushEvery is the text after which the compressed size is looked at.
	flushEvery = 64 << 10
	// maxPageText bounds the text of a page, and maxLines its lines.
	maxPageText = 64 << 20
	maxLines    = 100_000
	// maxLine bounds the text of a line, which is a Snapshot: the API server takes no larger object.
	maxLine = 2 << 20
	// maxComponents is how many components the API allows a Snapshot.
	maxComponents = 2000
	// maxObjects bounds the objects and nulls in a line: each can become a large structure.
	maxObjects = 20_000
)

// PageKey is the key of a page in the binaryData of its ConfigMap.
const PageKey = "found.json.gz"

// PageName returns the name of the ConfigMap with a page of a Job's answer. The admission policy cairn-mover-pages
// allows a mover no other name.
func PageName(job string, page int) string { return job + "-found-" + strconv.Itoa(page) }

var (
	// ErrTooManyFound means that an answer does not fit into MaxPages.
	ErrTooManyFound = errors.New("the repository holds more Snapshots than a scan can report")
	// ErrPage means that a page is none that a PageWriter wrote.
	ErrPage = errors.New("the page of a scan is broken")
)

// PageWriter packs an answer into pages. It is not safe for concurrent use.
type PageWriter struct {
	// Write stores a page.
	Write func(page int, content []byte) error
	// Dropped counts the Snapshots that are too large for a line, whoever wrote them into the backend.
	Dropped int32

	pages  int
	digest []byte
	// lines and text are what the page holds, unflushed the end of the text.
	lines, text, unflushed int
	buffer                 bytes.Buffer
	zip                    *gzip.Writer
}

// Add adds a Snapshot, and stores a page when it is full. A Snapshot whose components are too large for an object of
// the API loses them: then nothing claims that it can be restored.
func (w *PageWriter) Add(f Found) error {
	line, err := lineOf(f)
	if err == nil && line == nil {
		f.Components, f.Labels, f.Total = nil, nil, 0
		line, err = lineOf(f)
	}
	if err != nil {
		return err
	}
	if line == nil {
		w.Dropped++
		return nil
	}
	if w.zip == nil {
		w.zip = gzip.NewWriter(&w.buffer)
	}
	if _, err := w.zip.Write(line); err != nil {
		return fmt.Errorf("compress found Snapshot: %w", err)
	}
	w.lines, w.text = w.lines+1, w.text+len(line)
	if w.lines == maxLines || w.text > maxPageText-maxLine {
		return w.end()
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

// lineOf returns the line of a Snapshot, or nil if it is larger than a line can be.
func lineOf(f Found) ([]byte, error) {
	if len(f.Components) > maxComponents {
		return nil, nil
	}
	line, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode found Snapshot: %w", err)
	}
	if line = append(line, '\n'); !fits(line) {
		return nil, nil
	}
	return line, nil
}

// fits reports whether a line is within the limits.
func fits(line []byte) bool {
	return len(line) <= maxLine && bytes.Count(line, []byte("{"))+bytes.Count(line, []byte("null")) <= maxObjects
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
	w.pages, w.lines, w.text, w.unflushed, w.zip = w.pages+1, 0, 0, 0, nil
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

// ReadPage calls each for every Snapshot on a page, until it returns an error. Its own errors are ErrPage.
func ReadPage(content []byte, each func(Found) error) error {
	zip, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPage, err)
	}
	text := bufio.NewReaderSize(io.LimitReader(zip, maxPageText), maxLine)
	for lines := 0; ; lines++ {
		line, err := text.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", ErrPage, err)
		case lines == maxLines || !fits(line):
			return fmt.Errorf("%w: it is too large", ErrPage)
		}
		var f Found
		if err := json.Unmarshal(line, &f); err != nil {
			return fmt.Errorf("%w: %w", ErrPage, err)
		}
		if err := each(f); err != nil {
			return err
		}
	}
}

// UnmarshalJSON counts the components before it makes them.
func (f *Found) UnmarshalJSON(text []byte) error {
	type plain Found
	in := struct {
		*plain
		Components map[string]json.RawMessage `json:"components"`
	}{plain: (*plain)(f)}
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	if len(in.Components) > maxComponents {
		return fmt.Errorf("a Snapshot has %d components", len(in.Components))
	}
	f.Total = min(max(f.Total, 0), math.MaxInt16)
	f.Components = make(map[string]v1alpha1.Component, len(in.Components))
	for name, text := range in.Components {
		var c v1alpha1.Component
		if err := json.Unmarshal(text, &c); err != nil {
			return err
		}
		f.Components[name] = c
	}
	return nil
}
