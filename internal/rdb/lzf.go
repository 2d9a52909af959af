package rdb

// unpack undoes LZF, the compression of a string whose result has size bytes. A control byte below 32 is followed by
// one more literal byte than it says. Any other control byte begins a repetition: its upper three bits hold the
// length less 2, and its other bits, together with the last byte, hold how far back the repetition begins, less 1.
func unpack(in []byte, size uint64) ([]byte, error) {
	if size > maxValue {
		return nil, tooLarge()
	}
	bad := damagedError("a compressed string can't be unpacked")
	out := make([]byte, 0, min(size, bufferSize))
	for i := 0; i < len(in); {
		control := int(in[i])
		i++
		if control < 1<<5 {
			end := i + control + 1
			if end > len(in) {
				return nil, bad
			}
			out = append(out, in[i:end]...)
			i = end
			continue
		}
		length := control >> 5
		if length == 7 {
			if i >= len(in) {
				return nil, bad
			}
			length += int(in[i])
			i++
		}
		if i >= len(in) {
			return nil, bad
		}
		from := len(out) - ((control&0x1f)<<8 | int(in[i])) - 1
		i++
		if from < 0 || uint64(len(out)+length+2) > size {
			return nil, bad
		}
		for n := range length + 2 { // byte by byte: a repetition can continue in its own output
			out = append(out, out[from+n])
		}
	}
	if uint64(len(out)) != size {
		return nil, bad
	}
	return out, nil
}
