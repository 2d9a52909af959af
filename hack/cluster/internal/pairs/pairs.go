// Package pairs is an application whose data tells whether a copy of it is a
// point in time. It has numbers in files of two directories, a and b. One pair
// after the other, round and round, it raises the number in the file of a, and
// then that in the file of the same name in b; each is on the disk before the
// next is written. So at any time a file of b is as new as the one of a or one
// number behind, and how far each directory was written fits the other. A copy
// that reads one file after the other meanwhile has files of different times.
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

// stride is from one pair that is written to the next. They were made, and so lie
// on the disk, in the order of their names: were they written in that order too,
// a copy could follow the writer, and all its files would be of one round.
const stride = 173

// Write makes the pairs below dir, or goes on with those that are there if they
// are of one point in time, and writes them until ctx is done. The directory a
// appears when all pairs are there.
func Write(ctx context.Context, dir string) error {
	next := 0
	_, err := os.Stat(filepath.Join(dir, "a"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = create(dir)
	case err == nil:
		next, err = resume(dir)
	}
	for ; err == nil && ctx.Err() == nil; next++ {
		if err = writeHalf(dir, "a", next); err == nil {
			err = writeHalf(dir, "b", next)
		}
	}
	return err
}

// writeHalf writes the number whose turn it is, counted from the first that was ever written.
func writeHalf(dir, half string, turn int) error {
	return put(filepath.Join(dir, half, nameOf(turn)), os.O_WRONLY, turn/Count+1)
}

// nameOf is the name of the pair whose turn it is.
func nameOf(turn int) string { return fmt.Sprintf("%04d", turn*stride%Count) }

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
			if err := put(filepath.Join(unfinished, fmt.Sprintf("%04d", i)), os.O_WRONLY|os.O_CREATE, 0); err != nil {
				return err
			}
		}
		if err := os.Rename(unfinished, filepath.Join(dir, half)); err != nil {
			return fmt.Errorf("make the pairs: %w", err)
		}
	}
	return nil
}

// resume writes the half of a pair that is missing since the last run ended, and says whose turn it is.
func resume(dir string) (int, error) {
	s, err := Check(dir)
	if err != nil {
		return 0, fmt.Errorf("go on with what is there: %w", err)
	}
	if s.Half {
		err = writeHalf(dir, "b", s.Written-1)
	}
	return s.Written, err
}

// put writes a number to a file, in place and always as many bytes, and returns
// when it is on the disk.
func put(path string, flags, number int) error {
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

// Summary is what is in pairs of one point in time.
type Summary struct {
	Written int  // numbers in a since the beginning
	Half    bool // the last of them is not in b yet
}

func (s Summary) String() string {
	return fmt.Sprintf("%d pairs as they were after %d writes", Count, s.Written)
}

// Check reads the pairs below dir, which nobody must write. It is an error if
// there are none, or if they were like that at no time.
func Check(dir string) (Summary, error) {
	var written [2]int
	for i, half := range []string{"a", "b"} {
		numbers, err := read(filepath.Join(dir, half))
		if err != nil {
			return Summary{}, err
		}
		for _, n := range numbers {
			written[i] += n
		}
		if err := inTurns(numbers, written[i]); err != nil {
			return Summary{}, fmt.Errorf("check the pairs in %s: %s was never like that: %w", dir, half, err)
		}
	}
	s := Summary{Written: written[0], Half: written[1] == written[0]-1}
	if written[1] != written[0] && !s.Half {
		return Summary{},
			fmt.Errorf("check the pairs in %s: a is as it was after %d writes, b after %d", dir, written[0], written[1])
	}
	return s, nil
}

// inTurns says whether these are the numbers after so many were written.
func inTurns(numbers []int, written int) error {
	for i, n := range numbers {
		want := written / Count
		if i < written%Count {
			want++
		}
		if n != want {
			return fmt.Errorf("%s has %d, not %d as after %d writes", nameOf(i), n, want, written)
		}
	}
	return nil
}

// read reads all numbers of a directory, in the order in which they are written.
func read(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read pairs: %w", err)
	}
	if len(entries) != Count {
		return nil, fmt.Errorf("read pairs: %s has %d files, not %d", dir, len(entries), Count)
	}
	var numbers []int
	for turn := range Count {
		file := filepath.Join(dir, nameOf(turn))
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read pairs: %w", err)
		}
		number, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || number < 0 {
			return nil, fmt.Errorf("read pairs: %s is %q, no number", file, text)
		}
		numbers = append(numbers, number)
	}
	return numbers, nil
}
