package kopia

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Attributes that kopia drops are kept in one hidden file per directory, attrName. The file exists only where there
// is something to keep. For kopia it is an ordinary file of the snapshot: it is reachable, so it is never garbage;
// it is deleted with the snapshot; it is deduplicated while it does not change; it is restored with any
// subdirectory; and memory never holds the attributes of more than one directory.
const (
	attrName   = ".cairn~a"
	namePrefix = ".cairn~n" // + name with % escapes: kopia's JSON can hold only UTF-8 names
	reserved   = ".cairn~"
	attrMagic  = "cairn-attributes 1\n"
)

// record holds the attributes of one name; name "" is the directory itself.
type record struct {
	name    string
	link    *linkID     // non-directories with more than one link
	xattrs  []xattr     // includes ACLs (system.posix_acl_*) and capabilities (security.capability)
	special *specialRec // FIFO or device: kopia has no entry for it at all
	time    *timeRec    // modification time outside kopia's range (years 1678 to 2261)

	made linkID // the file that a restore made, if link is set; it is not stored
}

// linkID groups the names of one file. dev is relative to the root's device so that it does not change when
// the same volume is attached elsewhere.
type linkID struct{ dev, ino uint64 }

type xattr struct{ name, value string }

type specialRec struct {
	mode, uid, gid uint32
	rdev           uint64
	time           timeRec
}

type timeRec struct{ sec, nsec int64 }

// Times that kopia can hold, in seconds: from the start of the year 1678 to the end of 2261.
const minKopiaTime, maxKopiaTime = -9214560000, 9214646400

const (
	hasLink = 1 << iota
	hasXattrs
	hasSpecial
	hasTime
)

func (r *record) empty() bool {
	return r.link == nil && len(r.xattrs) == 0 && r.special == nil && r.time == nil
}

// encodeAttrs is deterministic: the same directory gives the same bytes whatever order it was read in.
func encodeAttrs(recs []record) []byte {
	slices.SortFunc(recs, func(a, b record) int { return strings.Compare(a.name, b.name) })
	b := []byte(attrMagic)
	for i := range recs {
		b = recs[i].append(b)
	}
	return b
}

func (r *record) flags() (f uint64) {
	if r.link != nil {
		f |= hasLink
	}
	if len(r.xattrs) > 0 {
		f |= hasXattrs
	}
	if r.special != nil {
		f |= hasSpecial
	}
	if r.time != nil {
		f |= hasTime
	}
	return f
}

func (r *record) append(b []byte) []byte {
	b = appendString(b, r.name)
	b = appendUints(b, r.flags())
	if r.link != nil {
		b = appendUints(b, r.link.dev, r.link.ino)
	}
	if len(r.xattrs) > 0 {
		slices.SortFunc(r.xattrs, func(a, b xattr) int { return strings.Compare(a.name, b.name) })
		b = appendUints(b, uint64(len(r.xattrs)))
		for _, x := range r.xattrs {
			b = appendString(appendString(b, x.name), x.value)
		}
	}
	if sp := r.special; sp != nil {
		b = appendUints(b, uint64(sp.mode), uint64(sp.uid), uint64(sp.gid), sp.rdev)
		b = appendTime(b, sp.time)
	}
	if r.time != nil {
		b = appendTime(b, *r.time)
	}
	return b
}

func appendUints(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func appendString(b []byte, s string) []byte { return append(appendUints(b, uint64(len(s))), s...) }

func appendTime(b []byte, t timeRec) []byte {
	return appendUints(binary.AppendVarint(b, t.sec), uint64(t.nsec))
}

var errBadAttrs = errors.New("damaged attribute file")

// decodeAttrs trusts nothing: every length is checked against what is left, names must be single components.
func decodeAttrs(b []byte) ([]record, error) {
	rest, ok := bytes.CutPrefix(b, []byte(attrMagic))
	if !ok {
		return nil, fmt.Errorf("%w: unknown version", errBadAttrs)
	}
	var recs []record
	d := attrReader{rest: rest}
	for len(d.rest) > 0 && !d.bad {
		recs = append(recs, d.record())
	}
	if d.bad {
		return nil, errBadAttrs
	}
	return recs, nil
}

// attrReader reads values. After the first error it returns only zero values.
type attrReader struct {
	rest []byte
	bad  bool
}

func (d *attrReader) fail() { d.bad, d.rest = true, nil }

func (d *attrReader) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *attrReader) string() string {
	n := d.uint()
	if n > uint64(len(d.rest)) {
		d.fail()
		return ""
	}
	v := string(d.rest[:n])
	d.rest = d.rest[n:]
	return v
}

func (d *attrReader) time() timeRec {
	sec, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail()
		return timeRec{}
	}
	d.rest = d.rest[n:]
	return timeRec{sec, int64(d.uint() % 1e9)}
}

func (d *attrReader) record() record {
	r := record{name: d.string()}
	if r.name != "" && !validName(r.name) {
		d.fail()
	}
	flags := d.uint()
	if flags&hasLink != 0 {
		r.link = &linkID{d.uint(), d.uint()}
	}
	if flags&hasXattrs != 0 {
		for n := d.uint(); n > 0 && !d.bad; n-- {
			r.xattrs = append(r.xattrs, xattr{d.string(), d.string()})
		}
	}
	if flags&hasSpecial != 0 {
		r.special = &specialRec{
			mode: uint32(d.uint()), uid: uint32(d.uint()), gid: uint32(d.uint()), rdev: d.uint(), time: d.time(),
		}
	}
	if flags&hasTime != 0 {
		t := d.time()
		r.time = &t
	}
	return r
}

// attrStamp turns the content into a modification time: kopia skips a file whose time, size, mode and owner are the
// same as in the previous snapshot. The time lies before 1970, so it is never the newest time of a directory.
func attrStamp(b []byte) int64 {
	h := sha256.Sum256(b)
	return -int64(binary.BigEndian.Uint64(h[:8]) >> 2)
}
