package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// TestAParcelOfTheVersionBeforeIsRead: the version before packed up to 64 MiB into one parcel, if they had at
// most 700 KiB after compression. Such a parcel can wait while the manager is upgraded, and nothing else has its
// records: their objects were released.
func TestAParcelOfTheVersionBeforeIsRead(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var records []Record
	for i := range 40 {
		records = append(records, Record{
			Path:    fmt.Sprintf("records/shop/backupbatch.shop/2026-11/s%d-01234567.yaml", i),
			Content: strings.Repeat("  error: 'the image of the mover can not be pulled: no route to host'\n", 15_000),
		})
	}
	raw, err := json.Marshal(parcelBody{outboxVersion, records})
	g.Expect(err).NotTo(HaveOccurred())
	var data bytes.Buffer
	g.Expect(compress(&data, raw)).To(Succeed())
	g.Expect(len(raw)).To(BeNumerically("<=", 64<<20), "the version before writes it")
	g.Expect(data.Len()).To(BeNumerically("<=", parcelSize), "as one ConfigMap")
	out, err := Unpack(data.Bytes())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out).To(HaveLen(len(records)))
}

// TestNoDroppedNamespaceIsForgotten: a changed flag or selector drops more namespaces than the status lists.
// Those that do not fit must be said once the others are acknowledged.
func TestNoDroppedNamespaceIsForgotten(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	const all = maxDropped + 50
	status := &v1alpha1.LedgerStatus{}
	for i := range all {
		status.Namespaces = append(status.Namespaces, fmt.Sprintf("n-%03d", i))
	}
	state := func(string) (Recorded, error) { return RecordedNot, nil }
	said := map[string]bool{}
	for range 2 {
		_, err := Notice(status, nil, state, time.Now())
		g.Expect(err).NotTo(HaveOccurred())
		for _, d := range status.Dropped {
			said[d.Name] = true
		}
		status.Dropped = nil // somebody acknowledges those that the status lists
	}
	g.Expect(said).To(HaveLen(all))
}
