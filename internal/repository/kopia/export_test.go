package kopia

import "github.com/kopia/kopia/repo/maintenance"

// WithoutWaiting makes Maintain collect garbage at once. Nobody may write meanwhile.
func WithoutWaiting(d Driver) Driver {
	none := maintenance.SafetyNone
	d.safety = &none
	return d
}

// The encodings, for the fuzz tests.
var (
	EncodeName = encodeName
	DecodeName = decodeName
	ErrAttrs   = errBadAttrs
)

// AttrName is the name of attribute files.
const AttrName = attrName

// ReencodeAttrs decodes an attribute file and encodes it again.
func ReencodeAttrs(b []byte) ([]byte, error) {
	recs, err := decodeAttrs(b)
	if err != nil {
		return nil, err
	}
	return encodeAttrs(recs), nil
}
