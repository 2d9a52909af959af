package ledger

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Parcel is what one push takes from an outbox, or leaves. It is one ConfigMap, unless a single file of a record is too
// large for that.
type Parcel struct {
	// Name is the name of the ConfigMap: a function of the Ledger's name and of the records.
	Name string
	// Data is gzip of JSON. Parts divides it into the values of ParcelKey.
	Data []byte
	// Records is the number of records in the parcel. A record counts where its first file is.
	Records int
}

// Parts returns what each ConfigMap of the parcel holds. The first is the parcel's own.
func (p Parcel) Parts() [][]byte { return slices.Collect(slices.Chunk(p.Data, partSize)) }

// PartName returns the name of the ConfigMap that holds a part of a parcel. Its own has the number 1.
func PartName(parcel string, number int) string {
	if number == 1 {
		return parcel
	}
	return fmt.Sprintf("%s-%d", parcel, number)
}

// ParcelKey is the key of a ConfigMap's binaryData that holds a part of a Parcel's Data.
const ParcelKey = "records.json.gz"

const (
	// parcelSize is the greatest size of Data in bytes, unless a single file is larger.
	parcelSize = 700 << 10
	// partSize is the greatest size of a part in bytes. A ConfigMap holds 1 MiB.
	partSize = 900 << 10
	// maxParcel is the greatest size of Data in bytes when it is inflated, unless a single file is larger.
	maxParcel = 16 << 20
	// outboxVersion is the version of the format.
	outboxVersion = 1
)

type parcelBody struct {
	Version int      `json:"version"`
	Records []Record `json:"records"`
}

// Pack puts records into as few parcels as their size allows. The same set of records gives the same parcels in any
// order, so packing again finds existing parcels.
func Pack(ledger string, records []Record) ([]Parcel, error) {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b Record) int { return strings.Compare(a.Path, b.Path) })
	records = slices.CompactFunc(records, func(a, b Record) bool { return a.Path == b.Path })
	return pack(ledger, records)
}

// pack halves a set of records that is too large: the size is known only after compression.
func pack(ledger string, records []Record) ([]Parcel, error) {
	if len(records) == 0 {
		return nil, nil
	}
	raw, err := json.Marshal(parcelBody{outboxVersion, records})
	if err != nil {
		return nil, fmt.Errorf("encode records: %w", err)
	}
	var data bytes.Buffer
	if err := compress(&data, raw); err != nil {
		return nil, fmt.Errorf("compress records: %w", err)
	}
	if len(records) > 1 && (data.Len() > parcelSize || len(raw) > maxParcel || len(records) > maxParcelFiles) {
		half := len(records) / 2
		first, err := pack(ledger, records[:half])
		if err != nil {
			return nil, err
		}
		second, err := pack(ledger, records[half:])
		return append(first, second...), err
	}
	return []Parcel{{Name: parcelName(ledger, raw), Data: data.Bytes(), Records: Count(records)}}, nil
}

func compress(w io.Writer, raw []byte) error {
	z := gzip.NewWriter(w)
	if _, err := z.Write(raw); err != nil {
		return err
	}
	return z.Close()
}

// parcelName hashes the packed records instead of their compressed form, which another version of Go can write
// differently.
func parcelName(ledger string, raw []byte) string {
	sum := sha256.Sum256(raw)
	tail := "-outbox-" + hex.EncodeToString(sum[:8])
	if limit := 253 - len(tail) - len("-99"); len(ledger) > limit {
		ledger = strings.TrimRight(ledger[:limit], "-.")
	}
	return ledger + tail
}
