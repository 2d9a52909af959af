package failure_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/internal/mover/failure"
)

func TestAdviceOfAFailedProgram(t *testing.T) {
	t.Parallel()
	const depends = "ERROR:  cannot drop constraint p on table items because other objects depend on it"
	for says, advice := range map[string]string{
		"pg_restore ended with exit code 1: ERROR:  relation x does not exist":           "",
		depends + "; HINT:  Use DROP ... CASCADE":                                        "restore without confirm",
		`ERROR:  cannot drop inherited constraint "y_pkey" of relation "y"; Command was`: "restore without confirm",
		"ERROR:  nothing was dropped: databases have sessions (1): postgres (user app)":  "Stop these clients",
		"FEHLER: kein Shared Memory; TIPP: max_locks_per_transaction":                    "to 1024, and restart it",
		`ERROR 1005 (HY000) at line 2: Can't create table (errno: 150 "Foreign key`:      "empty the database",
		`ERROR 1005 (HY000) at line 2: Can't create table (errno: 121 "Duplicate key`:    "empty the database",
		"ERROR 1359 (HY000) at line 49: Trigger 'shop.tr' already exists":                "empty the database",
		"ERROR 1050 (42S01) at line 38: Table 'users' already exists":                    "empty the database",
		"ERROR 3780 (HY000) at line 2: Referencing column 'u' and referenced column":     "empty the database",
		`ERROR 1005 (HY000) at line 2: Can't create table (errno: 140 "Wrong create`:     "innodb_strict_mode=OFF",
		"ERROR 1118 (42000) at line 9: Row size too large (> 8126). Changing some":       "innodb_strict_mode=OFF",
		`ERROR 1005 (HY000) at line 2: Can't create table (errno: 28 "No space`:          "",
		"ERROR 1153 (08S01): Got a packet bigger than 'max_allowed_packet' bytes":        "to 1G at most",
		"pg_dump: error: canceling statement due to statement timeout; Query":            "retryConfig with a delay",
		"pg_dump: error: permission denied for table t; query was: LOCK TABLE public.t":  "",
		"ERROR:  canceling statement due to statement timeout":                           "",
		"ERROR:  function unaccent(text) does not exist":                                 "parameter searchPath",
		`ERROR:  function unaccent("char", ext.x) does not exist; HINT:  No function`:    "parameter searchPath",
		`ERROR:  relation "kinds" does not exist`:                                        "parameter searchPath",
		`ERROR:  text search dictionary "unaccent" does not exist`:                       "parameter searchPath",
		"ERROR:  operator does not exist: text %% text":                                  "parameter searchPath",
		"ERROR:  function public.unaccent(text) does not exist":                          "",
		`ERROR:  relation "public.kinds" does not exist`:                                 "",
		"Error 2020: Got packet bigger than 'max_allowed_packet' bytes, row: 0":          "",
	} {
		g, got := NewWithT(t), failure.Advise(says)
		g.Expect(got).To(And(HavePrefix(says), ContainSubstring(advice)))
		g.Expect(got == says).To(Equal(advice == ""), says)
	}
}
