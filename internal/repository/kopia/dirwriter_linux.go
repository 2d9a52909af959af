package kopia

import (
	"bytes"
	"encoding/base64"
	"slices"

	"github.com/kopia/kopia/repo/object"
)

// dirWriter writes a directory object and adds its stamps to it. If the text is that of a previous snapshot, it writes
// nothing: most directories did not change, and in kopia each write waits for all reads, and they for it.
type dirWriter struct {
	object.Writer
	stamps *stamps
	held   []byte       // the last bytes that were not written yet
	before *previousDir // nil once the text differs
	passed int          // bytes that are the same
	sound  func(object.ID) bool
}

// endOfDir is the end of a directory object, which json.Encoder writes.
const endOfDir = "}\n"

// Write implements io.Writer. It holds back what could be the end of the object.
func (d *dirWriter) Write(p []byte) (int, error) {
	all := p
	if len(d.held) > 0 {
		all = append(d.held, p...)
	}
	end := max(0, len(all)-len(endOfDir))
	if err := d.put(all[:end]); err != nil {
		return 0, err
	}
	d.held = slices.Clone(all[end:])
	return len(p), nil
}

// put writes the next bytes, unless all of the text is that of the previous snapshot so far.
func (d *dirWriter) put(p []byte) error {
	if d.before != nil && bytes.HasPrefix(d.before.text[d.passed:], p) {
		d.passed += len(p)
		return nil
	}
	if err := d.catchUp(); err != nil {
		return err
	}
	_, err := d.Writer.Write(p)
	return err
}

// catchUp writes what was the same, because the text is another one.
func (d *dirWriter) catchUp() error {
	if d.before == nil {
		return nil
	}
	_, err := d.Writer.Write(d.before.text[:d.passed])
	d.before = nil
	return err
}

// Result implements object.Writer.
func (d *dirWriter) Result() (object.ID, error) {
	found := d.stamps.encode()
	if len(found) > 0 && string(d.held) == endOfDir {
		if err := d.put(fieldOf(found)); err != nil {
			return object.EmptyID, err
		}
	}
	if err := d.put(d.held); err != nil {
		return object.EmptyID, err
	}
	if d.before != nil && d.passed == len(d.before.text) && d.sound(d.before.id) {
		return d.before.id, nil
	}
	if err := d.catchUp(); err != nil {
		return object.EmptyID, err
	}
	return d.Writer.Result()
}

// fieldOf returns the field of the stamps, which follows another field.
func fieldOf(found []byte) []byte {
	out := append([]byte(nil), `,"`+stampsField+`":"`...)
	return append(base64.StdEncoding.AppendEncode(out, found), '"')
}
