package rdb

// Types of values that are more than a row of strings. From 22 on, each family of servers has its own numbers.
const (
	typeString          = 0
	typeList            = 1
	typeSet             = 2
	typeZSet            = 3
	typeHash            = 4
	typeZSet2           = 5
	typeModule2         = 7
	typeHashZipmap      = 9
	typeHashZiplist     = 13
	typeQuicklist       = 14
	typeStream          = 15
	typeHashListpack    = 16
	typeZSetListpack    = 17
	typeQuicklist2      = 18
	typeStream2         = 19
	typeSetListpack     = 20
	typeStream3         = 21
	typeValkeyHash2     = 22
	typeRedisHashTTL    = 24
	typeRedisHashPackEx = 25
	typeRedisStream4    = 26
	typeRedisStream5    = 27
)

// skipValue reads a value of a type, to find its end.
func (f *file) skipValue(kind byte) error {
	r := f.in
	switch {
	case kind == typeString, kind >= typeHashZipmap && kind <= typeHashZiplist,
		kind == typeHashListpack, kind == typeZSetListpack, kind == typeSetListpack:
		return r.skipString()
	case kind == typeList, kind == typeSet, kind == typeQuicklist:
		return r.each(r.skipString)
	case kind == typeHash:
		return r.each(r.skipString, r.skipString)
	case kind == typeZSet:
		return r.each(r.skipString, r.skipOldFloat)
	case kind == typeZSet2:
		return r.each(r.skipString, r.skipFixed)
	case kind == typeQuicklist2:
		return r.each(r.skipNumber, r.skipString)
	case kind == typeStream, kind == typeStream2, kind == typeStream3,
		(kind == typeRedisStream4 || kind == typeRedisStream5) && !f.valkey:
		return r.skipStream(kind)
	case kind == typeModule2:
		if err := r.skipNumber(); err != nil { // its type
			return err
		}
		return r.skipModule()
	case kind == typeValkeyHash2 && f.valkey:
		return r.each(r.skipString, r.skipString, r.skipFixed)
	case kind == typeRedisHashTTL && !f.valkey:
		if err := r.skipFixed(); err != nil { // when the first field expires
			return err
		}
		return r.each(r.skipNumber, r.skipString, r.skipString)
	case kind == typeRedisHashPackEx && !f.valkey:
		if err := r.skipFixed(); err != nil {
			return err
		}
		return r.skipString()
	}
	return unsupportedError("the RDB file, of version %d, has a value of type %d, which this mover does not know",
		f.version, kind)
}

// each reads a number, and then parts as many times.
func (r *reader) each(parts ...func() error) error {
	n, err := r.number()
	if err != nil {
		return err
	}
	for ; n > 0; n-- {
		for _, part := range parts {
			if err := part(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) skipNumber() error { return r.numbers(1) }
func (r *reader) skipFixed() error  { return r.skip(8) }

// skipOldFloat reads a score as old servers wrote it: as text, or as one of three special values.
func (r *reader) skipOldFloat() error {
	n, err := r.byte()
	if err != nil || n >= 253 {
		return err
	}
	return r.skip(uint64(n))
}

// streamID is the size in bytes of the ID of a stream's entry, in the lists of delivered entries.
const streamID = 16

// skipStream reads the entries of a stream, its properties, its consumer groups and its producers.
func (r *reader) skipStream(kind byte) error {
	if err := r.each(r.skipString, r.skipString); err != nil {
		return err
	}
	numbers, offset, times := 3, 0, uint64(1) // length, last ID
	if kind >= typeStream2 {
		numbers, offset = 8, 1 // first ID, last deleted ID, entries added; how far a group has read
	}
	if kind >= typeStream3 {
		times = 2
	}
	if err := r.numbers(numbers); err != nil {
		return err
	}
	id := func() error { return r.skip(streamID) }
	group := []func() error{
		r.skipString,
		func() error { return r.numbers(2 + offset) },
		func() error { return r.each(id, r.skipFixed, r.skipNumber) },
		func() error {
			return r.each(r.skipString, func() error { return r.skip(8 * times) }, func() error { return r.each(id) })
		},
	}
	if kind >= typeRedisStream5 {
		group = append(group, func() error { return r.each(id) }) // entries that a consumer gave back
	}
	if err := r.each(group...); err != nil || kind < typeRedisStream4 {
		return err
	}
	return r.skipProducers()
}

// skipProducers reads what a stream knows of the entries that its producers may send again.
func (r *reader) skipProducers() error {
	if err := r.numbers(2); err != nil { // how long, and how many
		return err
	}
	sent := func() error { return r.each(r.skipString, func() error { return r.numbers(2) }) } // with its entry's ID
	if err := r.each(r.skipString, sent); err != nil {
		return err
	}
	return r.numbers(2) // counters
}

// skipModule reads what a module wrote, part by part.
func (r *reader) skipModule() error {
	for {
		part, err := r.number()
		if err != nil {
			return err
		}
		switch part {
		case 0:
			return nil
		case 1, 2:
			err = r.skipNumber()
		case 3:
			err = r.skip(4)
		case 4:
			err = r.skipFixed()
		case 5:
			err = r.skipString()
		default:
			err = damagedError("a module's value has a part of kind %d", part)
		}
		if err != nil {
			return err
		}
	}
}

// moduleName returns the name in a module's type: nine characters of six bits each, followed by a version.
func moduleName(id uint64) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	name := make([]byte, 9)
	for i := range name {
		name[i] = letters[id>>(64-6*(i+1))&63]
	}
	return string(name)
}
