package pgsearchpath_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/pgsearchpath"
)

const (
	empty  = "SELECT pg_catalog.set_config('search_path', '', false);\n"
	public = "SET search_path = public;                              \n"

	script  = "--\n-- PostgreSQL database cluster dump\n--\n\n"
	connect = "\\connect shop\n\n\\restrict x\n\nSET statement_timeout = 0;\n-- a comment\n"
	// What an archive has before the search path: the name of the database and its encoding, with their lengths.
	archive = "PGDMP\x01\x0e\x00\x04\x08\x01\x00\x04\x00\x00\x00shop"
	entry   = "\x00\x0a\x00\x00\x00SEARCHPATH\x00\x0a\x00\x00\x00SEARCHPATH\x00\x02\x00\x00\x00\x008\x00\x00\x00"
)

// However a dump is cut into pieces, only what sets the search path is changed.
func TestTheSearchPathOfADump(t *testing.T) {
	t.Parallel()
	NewWithT(t).Expect(public).To(HaveLen(len(empty)))
	long := strings.Repeat("x", 5000)
	for name, tc := range map[string]struct{ dump, want string }{
		"a script": {
			script + empty + connect + empty + "data\n" + empty + connect + empty + empty + long + "\n" +
				connect + empty,
			script + empty + connect + public + "data\n" + empty + connect + public + empty + long + "\n" +
				connect + public,
		},
		"text that is like it": {
			script + connect + "x\n" + empty + long + connect + empty,
			script + connect + "x\n" + empty + long + connect + empty,
		},
		"a line without an end": {script + connect + empty[:50], script + connect + empty[:50]},
		"an archive": {
			archive + "\xff\x00" + empty + entry + empty + entry + empty,
			archive + "\xff\x00" + empty + entry + public + entry + empty,
		},
		"one database as a script": {
			"--\n-- PostgreSQL database dump\n" + connect + empty,
			"--\n-- PostgreSQL database dump\n" + connect + empty,
		},
		"no dump":           {"x" + connect + empty, "x" + connect + empty},
		"the beginning":     {"--\n-- Postgre", "--\n-- Postgre"},
		"nothing":           {"", ""},
		"no archive at all": {"PGDM", "PGDM"},
	} {
		for _, size := range []int{len(tc.dump) + 1, 1, 37} {
			g := NewWithT(t)
			out, err := through(tc.dump, size)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(out).To(Equal(tc.want), "%s in pieces of %d", name, size)
		}
	}
}

// Such an archive would be restored with its own path, and fail as without one.
func TestAnArchiveThatSetsNoSearchPath(t *testing.T) {
	t.Parallel()
	for _, dump := range []string{archive, archive + strings.Repeat("x", 20_000) + entry + empty} {
		out, err := through(dump, 4096)
		NewWithT(t).Expect(err).To(MatchError(pgsearchpath.ErrNone))
		NewWithT(t).Expect(out).To(BeEmpty())
	}
}

func TestWhatIsNoSearchPath(t *testing.T) {
	t.Parallel()
	for path, allowed := range map[string]bool{
		"public": true, "public,ext": true, `public , "a b","$user"`: true, `"a "" ; b"`: true, "_a1": true,
		`"Ü'"`: true, strings.Repeat("x", pgsearchpath.Longest): true,
		"": false, "public;": false, "a b": false, "a,": false, `"a`: false, `""`: false, `"a\"`: false, "a'": false,
		"Public": false, "$user": false, "\"a\nb\"": false, "a\n": false, "1a": false, `"a""`: false,
		strings.Repeat("x", pgsearchpath.Longest+1): false,
	} {
		err := pgsearchpath.Check(path)
		NewWithT(t).Expect(err == nil).To(Equal(allowed), "%q: %v", path, err)
	}
}

func TestTheReaderThatIsGone(t *testing.T) {
	t.Parallel()
	for _, dump := range []string{script + connect, archive + entry + empty, "x"} {
		_, err := pgsearchpath.NewWriter(writer{}, "public").Write([]byte(dump))
		NewWithT(t).Expect(err).To(MatchError(errGone))
	}
}

var errGone = errors.New("gone")

type writer struct{}

func (writer) Write([]byte) (int, error) { return 0, errGone }

// through passes a text through a Writer in pieces of this size.
func through(text string, size int) (string, error) {
	var out bytes.Buffer
	w := pgsearchpath.NewWriter(&out, "public")
	for rest := text; rest != ""; {
		n := min(size, len(rest))
		if _, err := w.Write([]byte(rest[:n])); err != nil {
			return out.String(), err
		}
		rest = rest[n:]
	}
	err := w.Flush()
	return out.String(), err
}
