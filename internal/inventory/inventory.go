package inventory

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

const (
	// plain is the number of objects up to which an inventory lists them as entries, which people and tools can read.
	// With the longest names they are 450 kB.
	plain = 1000
	// maxPacked is the greatest size of a packed inventory in bytes. The API server encodes it with a third more, and
	// etcd takes 1.5 MiB for an object.
	maxPacked = 1_000_000
	// maxMarks is how much the header of a gzip file takes: the marks of 262,140 entries.
	maxMarks = 1<<16 - 1
	// maxUnpacked bounds what Entries inflates.
	maxUnpacked = 64 << 20
)

// ErrTooLarge means that no object of the API server can hold the inventory.
var ErrTooLarge = errors.New("the inventory is too large")

// Pack returns an inventory of these entries, in their order. Its error is ErrTooLarge.
func Pack(entries []v1alpha1.ResourceRef) (*v1alpha1.ResourceInventory, error) {
	if len(entries) <= plain {
		// the API server requires a list, even an empty one
		return &v1alpha1.ResourceInventory{Entries: append([]v1alpha1.ResourceRef{}, entries...)}, nil
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("pack inventory: %w", err)
	}
	z.Extra = marks(entries)
	if len(z.Extra) > maxMarks {
		return nil, fmt.Errorf("%w: it has %s", ErrTooLarge, text.Quantity(len(entries), "object"))
	}
	for _, e := range entries {
		if _, err := io.WriteString(z, e.ID+" "+e.Version+"\n"); err != nil {
			return nil, fmt.Errorf("pack inventory: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("pack inventory: %w", err)
	}
	if out.Len() > maxPacked {
		return nil, fmt.Errorf("%w: %s take %d bytes when packed, and %d fit", ErrTooLarge,
			text.Quantity(len(entries), "object"), out.Len(), maxPacked)
	}
	return &v1alpha1.ResourceInventory{
		Entries: []v1alpha1.ResourceRef{}, Packed: out.Bytes(), Count: int32(len(entries)),
	}, nil
}

// Entries returns the entries of an inventory, which can be nil. It fails if the inventory is damaged: what it listed
// is then unknown, which is not the same as nothing.
func Entries(in *v1alpha1.ResourceInventory) ([]v1alpha1.ResourceRef, error) {
	switch {
	case in == nil:
		return nil, nil
	case len(in.Packed) == 0 && int(in.Count) > len(in.Entries):
		return nil, fmt.Errorf("status.inventory.packed is missing: it lists %s",
			text.Quantity(in.Count, "object"))
	case len(in.Packed) == 0:
		return in.Entries, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(in.Packed))
	if err != nil {
		return nil, fmt.Errorf("read status.inventory.packed: %w", err)
	}
	extra := z.Extra
	raw, err := io.ReadAll(io.LimitReader(z, maxUnpacked+1))
	if err != nil {
		return nil, fmt.Errorf("read status.inventory.packed: %w", err)
	}
	if len(raw) > maxUnpacked {
		return nil, fmt.Errorf("read status.inventory.packed: it has more than %d bytes", maxUnpacked)
	}
	out := make([]v1alpha1.ResourceRef, 0, in.Count)
	for line := range strings.Lines(string(raw)) {
		id, version, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok {
			return nil, fmt.Errorf("read status.inventory.packed: line %d is no object", len(out)+1)
		}
		version, consent, _ := strings.Cut(version, " ") // an earlier version has the mark there
		out = append(out, v1alpha1.ResourceRef{ID: id, Version: version, Consent: consent})
	}
	if len(out) != int(in.Count) {
		return nil, fmt.Errorf("read status.inventory.packed: it lists %d objects instead of %d", len(out), in.Count)
	}
	if err := mark(out, extra); err != nil {
		return nil, fmt.Errorf("read status.inventory.packed: %w", err)
	}
	return out, nil
}
