package ledger

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cairn-backup/cairn/internal/gitstore"
)

// What Unpack reads is bounded, because a kilobyte can inflate to a megabyte, and a megabyte of JSON can become a
// hundred of records. Each bound is above what Pack writes.
const (
	// maxPacked is the size in bytes of a parcel with the largest file.
	maxPacked = maxFileJSON
	// maxInflated bounds a parcel in bytes, maxFileJSON one of its files. A file has at most 6 MiB, and characters that
	// JSON escapes take more. An earlier version made parcels of 64 MiB, and files of as much as etcd holds of an
	// object.
	maxInflated = 64<<20 + 1<<10
	maxFileJSON = 16 << 20
	// maxParcelFiles is the number of files in a parcel. The UIDs of as many can't be compressed to the size of one.
	maxParcelFiles = 1 << 16
	// maxPath and maxObject bound in bytes what else a file has: its path, and the names and reasons of its object.
	maxPath   = 4096
	maxObject = 8192
)

// ErrParcel is the error of Unpack for data that is not a parcel.
var ErrParcel = errors.New("not a parcel of records")

// Unpack unpacks the result of Pack. Its error is ErrParcel. It reads no further than its first mistake.
func Unpack(data []byte) ([]Record, error) {
	var out []Record
	err := Each(data, func(r Record) { out = append(out, r) })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Each calls do with each file of a parcel and keeps none. Its error is ErrParcel. Then the files so far are nothing
// that Pack made.
func Each(data []byte, do func(Record)) error {
	if err := each(data, do); err != nil {
		return fmt.Errorf("%w: %w", ErrParcel, err)
	}
	return nil
}

func each(data []byte, do func(Record)) error {
	if len(data) > maxPacked {
		return fmt.Errorf("it has more than %d bytes", maxPacked)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	p := &parcelReader{inflated: &meter{r: z}}
	p.decoder = json.NewDecoder(p.inflated)
	for _, want := range []json.Token{json.Delim('{'), "version", float64(outboxVersion), "records", json.Delim('[')} {
		if err := p.expect(want); err != nil {
			return err
		}
	}
	for n := 0; p.decoder.More(); n++ {
		if n == maxParcelFiles {
			return fmt.Errorf("it has more than %d files", maxParcelFiles)
		}
		r, err := p.record()
		if err != nil {
			return err
		}
		do(r)
	}
	for _, want := range []json.Token{json.Delim(']'), json.Delim('}')} {
		if err := p.expect(want); err != nil {
			return err
		}
	}
	if _, err := p.decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("it does not end after its records"), err)
	}
	return nil
}

// parcelReader reads one value after the other, so that only one is in memory.
type parcelReader struct {
	inflated *meter
	decoder  *json.Decoder
}

// expect reads a token, which must be this one.
func (p *parcelReader) expect(want json.Token) error {
	p.inflated.value = 0
	got, err := p.decoder.Token()
	if err == nil && got != want {
		err = fmt.Errorf("it has %.40q where %q must be", fmt.Sprint(got), fmt.Sprint(want))
	}
	return err
}

func (p *parcelReader) record() (r Record, err error) {
	p.inflated.value = 0
	if err := p.decoder.Decode(&r); err != nil {
		return r, err
	}
	// who is allowed to write ConfigMaps must not be able to write other files of the branch
	if len(r.Path) > maxPath || !strings.HasPrefix(r.Path, RecordsDir+"/") || gitstore.CheckPath(r.Path) != nil {
		return r, fmt.Errorf("%.100q is not the path of a record", r.Path)
	}
	o := r.Object
	if len(o.Kind)+len(o.Namespace)+len(o.Name)+len(o.UID)+len(o.Phase)+len(o.Reason)+len(o.Revision) > maxObject {
		return r, fmt.Errorf("what it says of the object of %s is longer than %d bytes", r.Path, maxObject)
	}
	return r, nil
}

// meter fails once it has read more than a parcel has, or more since value was set to 0 than a file has.
type meter struct {
	r          io.Reader
	all, value int
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.all, m.value = m.all+n, m.value+n
	switch {
	case m.all > maxInflated:
		return 0, fmt.Errorf("it inflates to more than %d bytes", maxInflated)
	case m.value > maxFileJSON:
		return 0, fmt.Errorf("a file of it inflates to more than %d bytes", maxFileJSON)
	}
	return n, err
}
