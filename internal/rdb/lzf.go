package rdb

// unpack undoes the compression of a string, LZF, whose result has size bytes. A control byte below 32 is followed by one more
// literal byte than it says; another one holds in its upper three bits how long a repetition is, less 2, and in the others, with
// the byte at the end, how far back it begins, less 1.
func unpack(in []byte, size uint64) ([]byte, error) {
	if size > maxValue {
		return nil, tooLarge()
	}
	bad := damaged("a compressed string can't be unpacked")
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
		for n := range length + 2 { // byte by byte: a repetition may go on in what it wrote itself
			out = append(out, out[from+n])
		}
	}
	if uint64(len(out)) != size {
		return nil, bad
	}
	return out, nil
}
