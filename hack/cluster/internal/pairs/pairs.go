// Package pairs is an application whose data tells whether a copy of it is a
// point in time. It has numbers in files of two directories, a and b, and
// writes each number first to a file of a and then to the file of the same name
// in b. So a file of b is never newer than the one of a, and never more than
// one number behind. A copy that reads one file after the other while the
// application writes has files of a from before and files of b from after.
package pairs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Count is the number of pairs that Write keeps.
const Count = 300

// Write makes the pairs below dir, or goes on with those that are there if they
// are whole, and writes them in turns until ctx is done. The directory a
// appears when all pairs are there.
func Write(ctx context.Context, dir string) error {
	numbers := map[string]uint64{}
	_, err := os.Stat(filepath.Join(dir, "a"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = create(dir)
	case err == nil:
		numbers, err = resume(dir)
	}
	if err != nil {
		return err
	}
	for {
		for i := range Count {
			if ctx.Err() != nil {
				return nil
			}
			name := nameOf(i)
			numbers[name]++
			for _, half := range []string{"a", "b"} {
				if err := put(filepath.Join(dir, half, name), os.O_WRONLY, numbers[name]); err != nil {
					return err
				}
			}
		}
	}
}

func nameOf(i int) string { return fmt.Sprintf("%04d", i) }

// create makes all pairs, in directories of other names: what a crash leaves of
// them is no pairs.
func create(dir string) error {
	for _, half := range []string{"b", "a"} {
		unfinished := filepath.Join(dir, "."+half)
		if err := errors.Join(os.RemoveAll(unfinished), os.RemoveAll(filepath.Join(dir, half))); err != nil {
			return fmt.Errorf("remove what an earlier start left: %w", err)
		}
		if err := os.MkdirAll(unfinished, 0o755); err != nil {
			return fmt.Errorf("make the pairs: %w", err)
		}
		for i := range Count {
			if err := put(filepath.Join(unfinished, nameOf(i)), os.O_WRONLY|os.O_CREATE, 0); err != nil {
				return err
			}
		}
		if err := os.Rename(unfinished, filepath.Join(dir, half)); err != nil {
			return fmt.Errorf("make the pairs: %w", err)
		}
	}
	return nil
}

// resume writes the half of a pair that is missing since the last run ended.
func resume(dir string) (map[string]uint64, error) {
	if _, err := Check(dir); err != nil {
		return nil, fmt.Errorf("go on with what is there: %w", err)
	}
	numbers, err := read(filepath.Join(dir, "a"))
	if err != nil {
		return nil, err
	}
	for name, number := range numbers {
		if err := put(filepath.Join(dir, "b", name), os.O_WRONLY, number); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

// put writes a number to a file, in place and always as many bytes, and returns
// when it is on the disk.
func put(path string, flags int, number uint64) error {
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return fmt.Errorf("write a number: %w", err)
	}
	_, err = fmt.Fprintf(f, "%020d\n", number)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write a number: %w", err)
	}
	return nil
}

// Summary is what a directory of whole pairs holds.
type Summary struct {
	Pairs          int
	Oldest, Newest uint64 // of the numbers in a
}

func (s Summary) String() string {
	return fmt.Sprintf("%d whole pairs, from %d to %d", s.Pairs, s.Oldest, s.Newest)
}

// Check reads the pairs below dir, which nobody must write. It is an error if
// there are none or if some are broken, as they never were at any point in time.
func Check(dir string) (Summary, error) {
	a, err := read(filepath.Join(dir, "a"))
	if err != nil {
		return Summary{}, err
	}
	b, err := read(filepath.Join(dir, "b"))
	if err != nil {
		return Summary{}, err
	}
	if len(a) != Count || len(b) != Count {
		return Summary{}, fmt.Errorf("check the pairs in %s: a has %d files and b has %d, not %d each", dir, len(a), len(b), Count)
	}
	s := Summary{Pairs: Count, Oldest: a[nameOf(0)]}
	var broken []string
	for i := range Count {
		name := nameOf(i)
		first, second := a[name], b[name]
		s.Oldest, s.Newest = min(s.Oldest, first), max(s.Newest, first)
		if first != second && first != second+1 {
			broken = append(broken, fmt.Sprintf("%s: a has %d, b has %d", name, first, second))
		}
	}
	if n := len(broken); n > 0 {
		return Summary{}, fmt.Errorf("check the pairs in %s: %d of %d are broken: %s", dir, n, Count, strings.Join(broken[:min(n, 3)], "; "))
	}
	return s, nil
}

// read reads all numbers of a directory, by the names of their files.
func read(dir string) (map[string]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read pairs: %w", err)
	}
	numbers := map[string]uint64{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read pairs: %w", err)
		}
		number, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read pairs: %s: %w", filepath.Join(dir, e.Name()), err)
		}
		numbers[e.Name()] = number
	}
	return numbers, nil
}
