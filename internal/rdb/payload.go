package rdb

import (
	"encoding/binary"
	"errors"
	"io"
)

// maxValue is the longest argument that a server takes, unless its proto-max-bulk-len says otherwise.
const maxValue = 512 << 20

func tooLarge() error {
	return unfit("a value of more than %d MiB is in the RDB file: no command can restore it, load the file itself into a server", maxValue>>20)
}

// payload is what RESTORE takes: a value with its type, the version of the file and a checksum. It is kept in pieces, which are
// used again: growing one buffer would take several times the memory of a large value.
type payload struct {
	pieces [][]byte
	used   int // pieces in use; of the last one, len is
	size   uint64
	crc    uint64
}

// pieceSize is that of a piece, piecesKept the number of those that are kept for the next value.
const (
	pieceSize  = 256 << 10
	piecesKept = 64
)

// begin forgets the value before.
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

// end adds what follows a value: the version and the checksum of it all.
func (p *payload) end(version uint16) error {
	return errors.Join(p.add(binary.LittleEndian.AppendUint16(nil, version)), p.add(binary.LittleEndian.AppendUint64(nil, p.crc)))
}

func (p *payload) writeTo(w io.Writer) error {
	for _, piece := range p.pieces[:p.used] {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}
