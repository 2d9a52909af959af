package pgroles_test

import (
	"bytes"
	"errors"
	"regexp"
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
DO $cairn$PREPARE 'shop', 'O''Neil'$cairn$;
DROP DATABASE IF EXISTS shop;
DROP DATABASE IF EXISTS "O'Neil";
DROP DATABASE IF EXISTS "back\slash";

DROP DATABASE IF EXISTS two words;

DO $cairn$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'postgres') THEN CREATE ROLE postgres; END IF; END$cairn$;
DO $cairn$BEGIN IF session_user <> 'postgres' THEN ALTER ROLE postgres WITH SUPERUSER PASSWORD 'old'; END IF; EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION USING MESSAGE = SQLERRM, ERRCODE = SQLSTATE; END$cairn$;
DO $cairn$BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'O''Neil "x"') THEN CREATE ROLE "O'Neil ""x"""; END IF; END$cairn$;
DO $cairn$BEGIN IF session_user <> 'O''Neil "x"' THEN ALTER ROLE "O'Neil ""x""" WITH NOLOGIN; END IF; EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION USING MESSAGE = SQLERRM, ERRCODE = SQLSTATE; END$cairn$;
DO $cairn$BEGIN IF session_user <> 'WITH WITH me' THEN ALTER ROLE "WITH WITH me" WITH LOGIN; END IF; EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION USING MESSAGE = SQLERRM, ERRCODE = SQLSTATE; END$cairn$;
ALTER ROLE "O'Neil" SET search_path TO 'a WITH b';
ALTER ROLE postgres WITH PASSWORD '$cairn$';
ALTER ROLE postgres;
CREATE ROLE "back\slash";
CREATE ROLE two words;
\connect shop
COPY public.notes (note) FROM stdin;
CREATE ROLE postgres;
DROP ROLE IF EXISTS postgres;
\.
`

// blocks are the long ones that prepare the drop of databases.
var blocks = regexp.MustCompile(
	`(?m)^(DO \$cairn\$)DECLARE .*datistemplate AND datname IN \((.*)\) LOOP .*(\$cairn\$;)$`)

// However the dump is cut into pieces, only its beginning is changed.
func TestRolesThatAreThere(t *testing.T) {
	for name, size := range map[string]int{"whole": len(dump), "a byte at a time": 1, "in odd pieces": 37} {
		t.Run(name, func(t *testing.T) {
			out := through(t, dump, size)
			NewWithT(t).Expect(blocks.ReplaceAllString(out, "${1}PREPARE $2$3")).To(Equal(want))
		})
	}
}

// A pooler takes SET, but no options of a connection.
func TestDatabasesThatAreReadOnly(t *testing.T) {
	t.Parallel()
	const first = "--\n-- PostgreSQL database cluster dump\n--\n"
	const connect, settings = "\\connect shop\n\\restrict x\n\n", "SET statement_timeout = 0;\n"
	const data = "COPY t FROM stdin;\nSET statement_timeout = 0;\n\\.\n\\connect b\n'\nSET statement_timeout = 0;\n"
	const off = "SET default_transaction_read_only = off;\n"
	const database = "ALTER DATABASE \"a SET b\" SET default_transaction_read_only TO 'on';\n"
	shop, long := connect+settings, strings.Repeat("x", 3000)
	for name, tc := range map[string]struct{ dump, want string }{
		"an ordinary one": {first + shop + data, first + shop + off + data},
		"another one": {
			first + shop + database + shop + data + shop, first + shop + off + database + shop + off + data + shop + off,
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

// through passes a text through a Writer in pieces of this size.
func through(t *testing.T, text string, size int) string {
	t.Helper()
	g := NewWithT(t)
	var out bytes.Buffer
	w := pgroles.NewWriter(&out)
	for rest := text; rest != ""; {
		n := min(size, len(rest))
		written, err := w.Write([]byte(rest[:n]))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(written).To(Equal(n))
		rest = rest[n:]
	}
	g.Expect(w.Flush()).To(Succeed())
	return out.String()
}

// A dump that breaks off keeps its last lines.
func TestADumpThatEndsWithADrop(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	w := pgroles.NewWriter(&out)
	const drop = "DROP DATABASE IF EXISTS shop;\n"
	_, err := w.Write([]byte("--\n-- PostgreSQL database cluster dump\n" + drop + "DROP"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Flush()).To(Succeed())
	g.Expect(out.String()).To(HaveSuffix("$cairn$;\n" + drop + "DROP"))
}

func TestTheReaderThatIsGone(t *testing.T) {
	g := NewWithT(t)
	gone := errors.New("gone")
	_, err := pgroles.NewWriter(writer{gone}).Write([]byte("a\n"))
	g.Expect(err).To(MatchError(gone))
}

type writer struct{ err error }

func (w writer) Write([]byte) (int, error) { return 0, w.err }
