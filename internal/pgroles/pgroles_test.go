package pgroles_test

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/pgroles"
)

const dump = `--
-- PostgreSQL database cluster dump
--
SET default_transaction_read_only = off;
DROP DATABASE IF EXISTS shop;
DROP DATABASE IF EXISTS "O'Neil";
DROP DATABASE IF EXISTS "back\slash";

DROP DATABASE IF EXISTS two words;
--
-- Drop tablespaces
--
DROP TABLESPACE IF EXISTS fast;
DROP TABLESPACE IF EXISTS "NAMES";
DROP ROLE IF EXISTS postgres;
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER PASSWORD 'old';
CREATE ROLE "O'Neil ""x""";
ALTER ROLE "O'Neil ""x""" WITH NOLOGIN;
ALTER ROLE "WITH WITH me" WITH LOGIN;
ALTER ROLE "O'Neil" SET search_path TO 'a WITH b';
ALTER ROLE postgres WITH PASSWORD '$cairn$';
ALTER ROLE postgres;
CREATE ROLE "back\slash";
CREATE ROLE "a$name";
CREATE ROLE "a
DROP ROLE x;
";
CREATE TABLESPACE fast OWNER "a LOCATION 'b" LOCATION '/so fast';
CREATE TABLESPACE plain OWNER x LOCATION '';
CREATE TABLESPACE quote OWNER x LOCATION '/a''b';
CREATE TABLESPACE other OWNER x LOCATION E'/a\\b';
CREATE ROLE "a" "b";
CREATE ROLE "";
ALTER ROLE "a" SET search_path TO '"" WITH "';
CREATE ROLE two words;
\connect shop
COPY public.notes (note) FROM stdin;
CREATE ROLE postgres;
DROP ROLE IF EXISTS postgres;
\.
`

const want = `--
-- PostgreSQL database cluster dump
--
SET default_transaction_read_only = off;
DO $cairn$PREPARE $name$shop$name$, $name$O'Neil$name$, $name$back\slash$name$/$name$fast$name$, $name$NAMES$name$/$place$/so fast$place$$cairn$;
DROP DATABASE IF EXISTS shop;
DROP DATABASE IF EXISTS "O'Neil";
DROP DATABASE IF EXISTS "back\slash";

DROP DATABASE IF EXISTS two words;
--
-- Drop tablespaces
--
DROP TABLESPACE IF EXISTS fast;
DROP TABLESPACE IF EXISTS "NAMES";

DO $cairn$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $name$postgres$name$) THEN CREATE ROLE postgres; END IF; END$cairn$;
DO $cairn$BEGIN IF session_user <> $name$postgres$name$ THEN ALTER ROLE postgres WITH SUPERUSER PASSWORD 'old'; END IF; EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION USING MESSAGE = SQLERRM, ERRCODE = SQLSTATE; END$cairn$;
DO $cairn$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $name$O'Neil "x"$name$) THEN CREATE ROLE "O'Neil ""x"""; END IF; END$cairn$;
DO $cairn$BEGIN IF session_user <> $name$O'Neil "x"$name$ THEN ALTER ROLE "O'Neil ""x""" WITH NOLOGIN; END IF; EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION USING MESSAGE = SQLERRM, ERRCODE = SQLSTATE; END$cairn$;
DO $cairn$BEGIN IF session_user <> $name$WITH WITH me$name$ THEN ALTER ROLE "WITH WITH me" WITH LOGIN; END IF; EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION USING MESSAGE = SQLERRM, ERRCODE = SQLSTATE; END$cairn$;
ALTER ROLE "O'Neil" SET search_path TO 'a WITH b';
DO $cairn_$BEGIN IF session_user <> $name$postgres$name$ THEN ALTER ROLE postgres WITH PASSWORD '$cairn$'; END IF; EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION USING MESSAGE = SQLERRM, ERRCODE = SQLSTATE; END$cairn_$;
ALTER ROLE postgres;
DO $cairn$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $name$back\slash$name$) THEN CREATE ROLE "back\slash"; END IF; END$cairn$;
DO $cairn$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $name_$a$name$name_$) THEN CREATE ROLE "a$name"; END IF; END$cairn$;
DO $cairn$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $name$a
DROP ROLE x;
$name$) THEN CREATE ROLE "a
DROP ROLE x;
"; END IF; END$cairn$;
CREATE TABLESPACE fast OWNER "a LOCATION 'b" LOCATION '/so fast';
CREATE TABLESPACE plain OWNER x LOCATION '';
CREATE TABLESPACE quote OWNER x LOCATION '/a''b';
CREATE TABLESPACE other OWNER x LOCATION E'/a\\b';
CREATE ROLE "a" "b";
CREATE ROLE "";
ALTER ROLE "a" SET search_path TO '"" WITH "';
CREATE ROLE two words;
\connect shop
COPY public.notes (note) FROM stdin;
CREATE ROLE postgres;
DROP ROLE IF EXISTS postgres;
\.
`

// blocks are the long ones that prepare the drop of databases.
var blocks = regexp.MustCompile(
	`(?m)^(DO \$cairn\$)DECLARE names .* := ARRAY\[(.*)\]; dropped .* ARRAY\[(.*)\]::.* ARRAY\[(.*)\]::.* ` +
		`END(\$cairn\$;)$`)

// However the dump is cut into pieces, only its beginning is changed.
func TestRolesThatAreThere(t *testing.T) {
	for name, size := range map[string]int{"whole": len(dump), "a byte at a time": 1, "in odd pieces": 37} {
		t.Run(name, func(t *testing.T) {
			out := through(t, dump, size)
			NewWithT(t).Expect(blocks.ReplaceAllString(out, "${1}PREPARE $2/$3/$4$5")).To(Equal(want))
		})
	}
}

// Anybody can write lines into a text of the beginning.
func TestLinesInTextsAreNoStatements(t *testing.T) {
	t.Parallel()
	const lines = "\nCREATE ROLE \"; ALTER ROLE eve SUPERUSER; --\";\n" +
		"DROP DATABASE IF EXISTS x;\nDROP ROLE x;\n\\connect x\n"
	inName := strings.ReplaceAll(lines, `"`, `""`)
	const start = "COMMENT ON ROLE eve IS '"
	const comment = start + lines + "';\n"
	const late = "DROP ROLE IF EXISTS late;\n"
	for name, text := range map[string]string{
		"a setting":             "ALTER ROLE eve SET search_path TO 'x" + lines + "--';\n",
		"backslashes":           "ALTER ROLE eve SET search_path TO E'\\\\''" + lines + "\\\\';\n",
		"quotes":                start + "''" + lines + "''" + lines + "''';\n",
		"marks in a text":       "ALTER DATABASE shop SET x TO '--''/*$$';\n" + comment,
		"a name":                "CREATE TABLESPACE \"a'\"\"--" + inName + "\" LOCATION '/a--b" + lines + "';\n",
		"a label":               "SECURITY LABEL FOR x ON ROLE \"'\" IS '" + lines + "';\n",
		"after a comment":       "-- it's \"\n--'\n" + comment,
		"a comment and a CR":    "-- it's\r" + comment,
		"after a command":       "\\restrict it's\n" + comment,
		"one dash":              "SELECT 1 -'2' - '" + lines + "';\n",
		"a dash, then a text":   "SELECT 1 -'-'-'" + lines + "';\n",
		"a long one":            start + strings.Repeat("DROP ROLE x;\n", 90_000) + lines + "';\n",
		"the end of a long one": start + strings.Repeat("x", 1<<20+1-len(start)) + "DROP ROLE x;';--;\n",
		"a long statement":      "DROP ROLE IF EXISTS \"" + strings.Repeat("x", 1<<20) + "\";\n",
	} {
		for _, size := range []int{1 << 22, 1, 37} {
			out := through(t, first+text+late+text, size)
			NewWithT(t).Expect(out == first+text+"\n"+text).To(BeTrue(), "%s in pieces of %d", name, size)
		}
	}
}

// first begins each dump of a cluster.
const first = "--\n-- PostgreSQL database cluster dump\n--\n"

// A pooler takes SET, but no options of a connection.
func TestDatabasesThatAreReadOnly(t *testing.T) {
	t.Parallel()
	const connect, settings = "\\connect shop\n\\restrict x\n\n", "SET statement_timeout = 0;\n"
	const data = "COPY t FROM stdin;\nSET statement_timeout = 0;\n\\.\n\\connect b\n'\nSET statement_timeout = 0;\n"
	const off = "SET default_transaction_read_only = off;\n"
	const database = "ALTER DATABASE \"a SET b\" SET default_transaction_read_only TO 'on';\n"
	shop, long := connect+settings, strings.Repeat("x", 3000)
	for name, tc := range map[string]struct{ dump, want string }{
		"an ordinary one": {first + shop + data, first + shop + off + data},
		"another one": {
			first + shop + database + shop + data + shop,
			first + shop + off + database + shop + off + data + shop + off,
		},
		"a long line": {
			first + connect + database + long + shop + shop, first + connect + database + long + shop + shop + off,
		},
		"no cluster": {database + shop, database + shop},
	} {
		for _, size := range []int{len(tc.dump), 1, 37} {
			NewWithT(t).Expect(through(t, tc.dump, size)).To(Equal(tc.want), "%s in pieces of %d", name, size)
		}
	}
}

// psql says in which line of what it reads an error is.
func TestTheDatabaseOfALine(t *testing.T) {
	t.Parallel()
	const settings = "\nSET statement_timeout = 0;\n"
	dump := first + "DROP DATABASE IF EXISTS shop;\nCREATE ROLE x;\n\\connect template1\n" + settings + "mark 1;\n" +
		"\\connect shop\n\\restrict x\n" + settings + "COPY t FROM stdin;\n\\connect b\nmark 2\n\\.\nmark 3;\n" +
		"\\connect -reuse-previous=on \"dbname='two words'\"\n" + settings + "mark 4;\n"
	for _, size := range []int{1 << 20, 1, 37} {
		g := NewWithT(t)
		var out bytes.Buffer
		w := pgroles.NewWriter(&out)
		for part := range slices.Chunk([]byte(dump), size) {
			_, err := w.Write(part)
			g.Expect(err).NotTo(HaveOccurred())
		}
		g.Expect(w.Flush()).To(Succeed())
		found := map[string]string{}
		for nr, line := range strings.Split(out.String(), "\n") {
			if strings.HasPrefix(line, "mark ") || strings.HasPrefix(line, "DROP") {
				found[line] = w.DatabaseAt(nr + 1)
			}
			if strings.HasPrefix(line, "DROP") || strings.HasPrefix(line, "DO $cairn$DECLARE") {
				g.Expect(w.Dropped(nr+1)).To(BeFalse(), line)
			} else if strings.HasPrefix(line, "mark ") || strings.Contains(line, "CREATE ROLE") {
				g.Expect(w.Dropped(nr+1)).To(BeTrue(), line)
			}
		}
		g.Expect(found).To(Equal(map[string]string{
			"DROP DATABASE IF EXISTS shop;": "", "mark 1;": "template1", "mark 2": "shop", "mark 3;": "shop",
			"mark 4;": "two words",
		}))
	}
}

func TestWhatIsNoSuchDump(t *testing.T) {
	for _, text := range []string{
		"", "no line break", strings.Repeat("x", 3<<20),
		"PGDMP\x00\x01\nDROP ROLE x;\nCREATE ROLE x;\n",
		"--\n-- PostgreSQL database dump\n--\nCREATE ROLE x;\n", "-",
	} {
		g := NewWithT(t)
		var out bytes.Buffer
		w := pgroles.NewWriter(&out)
		_, err := w.Write([]byte(text))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(w.Flush()).To(Succeed())
		g.Expect(out.String()).To(Equal(text))
	}
}

// stop is what a Writer adds to the header of a dump.
const stop = "\\set ON_ERROR_STOP 1\n"

// With --set=ON_ERROR_STOP=0 among its arguments, psql would end well in spite of errors.
func TestPsqlStopsAtTheFirstError(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1 << 22, 1} {
		NewWithT(t).Expect(passed(t, dump, size)).To(HavePrefix(strings.TrimSuffix(first, "--\n") + stop + "--\nSET "))
	}
}

// through passes a text through a Writer in pieces of this size. It returns what comes out without the line that stops.
func through(t *testing.T, text string, size int) string {
	t.Helper()
	return strings.Replace(passed(t, text, size), stop, "", 1)
}

// passed returns all that comes out of a Writer.
func passed(t *testing.T, text string, size int) string {
	t.Helper()
	g := NewWithT(t)
	var out bytes.Buffer
	w := pgroles.NewWriter(&out)
	for rest := text; rest != ""; {
		n := min(size, len(rest))
		written, err := w.Write([]byte(rest[:n]))
		if err != nil || written != n { // a matcher takes too long for millions of pieces
			t.Fatalf("wrote %d of %d: %v", written, n, err)
		}
		rest = rest[n:]
	}
	g.Expect(w.Flush()).To(Succeed())
	return out.String()
}

// What follows the drops is kept, up to a limit.
func TestManyRolesAfterTheDrops(t *testing.T) {
	t.Parallel()
	const drop = "DROP DATABASE IF EXISTS shop;\n"
	roles := strings.Repeat("COMMENT ON ROLE eve IS '"+strings.Repeat("x", 1000)+"';\n", 20_000)
	const space = "CREATE TABLESPACE fast OWNER eve LOCATION '/fast';\n"
	out := through(t, first+drop+roles+space+drop+"\\connect shop\n", 1<<20)
	NewWithT(t).Expect(strings.Count(out, "DO $cairn$DECLARE")).To(Equal(2))
	NewWithT(t).Expect(strings.Contains(out, drop+roles+space+"DO $cairn$DECLARE")).To(BeTrue())
	NewWithT(t).Expect(out).To(HaveSuffix(drop + "\\connect shop\n"))
}

// A dump that breaks off keeps its last lines.
func TestADumpThatEndsAfterADrop(t *testing.T) {
	const drop = "DROP DATABASE IF EXISTS shop;\n"
	for _, end := range []string{"", "DROP", "COMMENT ON ROLE eve IS '" + strings.Repeat("x", 1<<20) + "\n"} {
		out := through(t, first+drop+end, 1<<22)
		NewWithT(t).Expect(strings.HasSuffix(out, "$cairn$;\n"+drop+end)).To(BeTrue())
	}
}

func TestTheReaderThatIsGone(t *testing.T) {
	g := NewWithT(t)
	gone := errors.New("gone")
	_, err := pgroles.NewWriter(writer{gone}).Write([]byte("a\n"))
	g.Expect(err).To(MatchError(gone))
}

type writer struct{ err error }

func (w writer) Write([]byte) (int, error) { return 0, w.err }
