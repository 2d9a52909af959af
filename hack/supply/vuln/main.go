// Command vuln compares the modules of programs with a database of advisories that lies in a directory, and asks no
// server. Its exit code is 0 only if it has compared all of them and found nothing.
//
//	go run -C hack/supply ./vuln -db DIRECTORY PROGRAM...
//
// It goes by the versions of modules, also where the code that an advisory is about is not in the program.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/vuln/scan"
)

// errNothing is the error without a database. Whoever reads only the last line must not take it for a success.
var errNothing = errors.New("no database of advisories at hand: nothing was checked")

func main() {
	db := flag.String("db", "", "directory with a copy of the Go vulnerability database")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *db, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run compares each program, and returns an error if an advisory is about one of them.
func run(ctx context.Context, out io.Writer, db string, programs []string) error {
	db, modified, err := open(db)
	if err != nil {
		return err
	}
	if len(programs) == 0 {
		return errors.New("no program is given: nothing was checked")
	}
	fmt.Fprintf(out, "advisories up to %s\n", modified.UTC().Format(time.DateOnly))
	var all []error
	for _, p := range programs {
		found, err := check(ctx, db, p)
		switch {
		case err != nil:
			all = append(all, fmt.Errorf("check %s: %w", p, err))
		case len(found) > 0:
			all = append(all, fmt.Errorf("%s has modules with advisories:\n  %s", p, strings.Join(found, "\n  ")))
		default:
			fmt.Fprintf(out, "%s: no advisory\n", p)
		}
	}
	return errors.Join(all...)
}

// message is a part of what govulncheck says.
type message struct {
	OSV *struct {
		ID      string `json:"id"`
		Summary string `json:"summary"`
	} `json:"osv"`
	Finding *struct {
		OSV   string `json:"osv"`
		Fixed string `json:"fixed_version"`
		Trace []struct {
			Module  string `json:"module"`
			Version string `json:"version"`
		} `json:"trace"`
	} `json:"finding"`
}

// check returns a line for each advisory about the modules of a program.
func check(ctx context.Context, db, program string) ([]string, error) {
	var said, complaints bytes.Buffer
	c := scan.Command(ctx, "-db", "file://"+filepath.ToSlash(db), "-mode", "binary", "-scan", "module", "-json",
		program)
	c.Stdout, c.Stderr = &said, &complaints
	err := c.Start()
	if err == nil {
		err = c.Wait()
	}
	if err != nil {
		return nil, fmt.Errorf("%w %s", err, complaints.String())
	}
	summaries, lines := map[string]string{}, []string{}
	for in := json.NewDecoder(&said); ; {
		var m message
		if err := in.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read what govulncheck says: %w", err)
		}
		if m.OSV != nil {
			summaries[m.OSV.ID] = m.OSV.Summary
		}
		if f := m.Finding; f != nil && len(f.Trace) > 0 {
			lines = append(lines, fmt.Sprintf("%s: %s %s: %s (fixed in: %s)", f.OSV, f.Trace[0].Module,
				f.Trace[0].Version, summaries[f.OSV], cmp.Or(f.Fixed, "no version")))
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

// open returns the directory of a database, absolute, and when the database was last changed.
func open(db string) (dir string, modified time.Time, _ error) {
	if db == "" {
		return "", modified, fmt.Errorf("%w. Set VULNDB to a directory with a copy of the Go vulnerability database",
			errNothing)
	}
	dir, err := filepath.Abs(db)
	if err != nil {
		return "", modified, fmt.Errorf("%w: %w", errNothing, err)
	}
	for _, index := range []string{"db.json", "modules.json"} {
		text, err := os.ReadFile(filepath.Join(dir, "index", index))
		if err != nil {
			return "", modified, fmt.Errorf("%w. The directory %s holds none: %w", errNothing, db, err)
		}
		var meta struct{ Modified time.Time }
		var modules []json.RawMessage
		switch index {
		case "db.json":
			if err = json.Unmarshal(text, &meta); err == nil && meta.Modified.IsZero() {
				err = errors.New("it does not say when it was changed")
			}
			modified = meta.Modified
		default:
			if err = json.Unmarshal(text, &modules); err == nil && len(modules) == 0 {
				err = errors.New("it is empty")
			}
		}
		if err != nil {
			return "", modified, fmt.Errorf("%w. index/%s of %s can't be read: %w", errNothing, index, db, err)
		}
	}
	return dir, modified, nil
}
