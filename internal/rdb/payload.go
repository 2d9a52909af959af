package rdb

import (
	"encoding/binary"
	"io"
)

// maxValue is the longest argument that a server accepts, unless its proto-max-bulk-len differs.
const maxValue = 512 << 20

func tooLarge() error {
	return unsupportedError("the RDB file has a value of more than %d MiB, which no command can restore "+
		"(redis-cli --memkeys finds the largest keys of a server)", maxValue>>20)
}

// payload is the argument of RESTORE: a value with its type, the version of the file and a checksum. It consists of
// pieces that are reused: growing one buffer would take several times the memory of a large value.
//
// With sizeOnly it keeps nothing but the size.
type payload struct {
	sizeOnly bool

	pieces [][]byte
	used   int // pieces in use; the last one is filled up to its len
	size   uint64
	crc    uint64
}

// pieceSize is the size of a piece. piecesKept is how many pieces are kept for the next value.
const (
	pieceSize  = 256 << 10
	piecesKept = 64
)

// begin forgets the previous value.
func (p *payload) begin(kind byte) error {
	if len(p.pieces) > piecesKept {
		p.pieces = p.pieces[:piecesKept:piecesKept]
	}
	p.used, p.size, p.crc = 0, 0, 0
	return p.add([]byte{kind})
}

func (p *payload) add(b []byte) error {
	if p.size += uint64(len(b)); p.size > maxValue {
		return tooLarge()
	}
	if p.sizeOnly {
		return nil
	}
	p.crc = checksum(p.crc, b)
	for len(b) > 0 {
		if p.used == 0 || len(p.pieces[p.used-1]) == pieceSize {
			if p.used == len(p.pieces) {
				p.pieces = append(p.pieces, make([]byte, 0, pieceSize))
			}
			p.pieces[p.used] = p.pieces[p.used][:0]
			p.used++
		}
		last := p.pieces[p.used-1]
		n := min(len(b), pieceSize-len(last))
		p.pieces[p.used-1] = append(last, b[:n]...)
		b = b[n:]
	}
	return nil
}

// end adds the version and the checksum of everything to a value.
func (p *payload) end(version uint16) error {
	if err := p.add(binary.LittleEndian.AppendUint16(nil, version)); err != nil {
		return err
	}
	return p.add(binary.LittleEndian.AppendUint64(nil, p.crc))
}

func (p *payload) writeTo(w io.Writer) error {
	for _, piece := range p.pieces[:p.used] {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}
