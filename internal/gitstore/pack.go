package gitstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// errLocal marks a fault of this machine's disk.
var errLocal = errors.New("local file")

// writeTo returns a sink for receive that copies the pack to a file.
func writeTo(f *os.File) func(*boundedReader) error {
	return func(pack *boundedReader) error {
		_, err := io.Copy(f, pack)
		switch {
		case pack.err != nil:
			return gitError("read pack", pack.err)
		case err != nil:
			return fmt.Errorf("%w: %w", errLocal, err)
		}
		return nil
	}
}

// measurePack adds up the sizes that the objects of a pack will have in memory, and leaves f at its start. The
// scanner itself fails on an object that inflates to more than it declares.
func measurePack(f *os.File, d Download) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	scanner := packfile.NewScanner(f)
	_, count, err := scanner.Header()
	if err != nil && !errors.Is(err, packfile.ErrEmptyPackfile) {
		return fmt.Errorf("read pack: %w", err)
	}
	var total int64
	for range count {
		size, err := objectSize(scanner, d.Object)
		if err != nil {
			return fmt.Errorf("read pack: %w", err)
		}
		if total += size; size > d.Object || total > d.Unpacked {
			return fmt.Errorf("read pack: %w: an object has %d bytes, all so far %d", ErrTooLarge, size, total)
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	return nil
}

// objectSize reads the next object and returns its size. For a delta it returns the larger of the delta's size and
// its result's size.
func objectSize(scanner *packfile.Scanner, limit int64) (int64, error) {
	header, err := scanner.NextObjectHeader()
	if err != nil {
		return 0, err
	}
	if header.Length > limit {
		return header.Length, nil
	}
	if header.Type != plumbing.OFSDeltaObject && header.Type != plumbing.REFDeltaObject {
		_, _, err = scanner.NextObject(io.Discard)
		return header.Length, err
	}
	var delta head
	if _, _, err := scanner.NextObject(&delta); err != nil {
		return 0, err
	}
	rest := bytes.NewReader(delta.kept)
	if _, err := readSize(rest); err != nil { // the size of the base
		return 0, err
	}
	size, err := readSize(rest)
	return max(size, header.Length), err
}

// readSize reads one of the two sizes at the beginning of a delta: seven bits per byte, the lowest first.
func readSize(r io.ByteReader) (size int64, err error) {
	for shift := 0; shift < 63; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, fmt.Errorf("delta: %w", err)
		}
		if size |= int64(b&0x7f) << shift; b < 0x80 {
			return size, nil
		}
	}
	return 0, errors.New("delta: size is not a number")
}

// head keeps the first bytes written to it.
type head struct{ kept []byte }

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), max(0, 32-len(h.kept)))]...)
	return len(p), nil
}
