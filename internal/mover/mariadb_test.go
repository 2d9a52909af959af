package mover_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

const mariadbTables = `
	CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop;
	CREATE TABLE people (id int PRIMARY KEY, name text, photo blob, price decimal(10,2), born datetime(6), note text);
	INSERT INTO people SELECT seq, concat('Ä''"\\ 🙂 ', seq, '\n\t'), unhex(sha2(seq, 256)), seq/7,
		'1999-12-31 23:59:59.999999', NULL FROM seq_1_to_5000;
	CREATE VIEW old AS SELECT * FROM people WHERE id < 10;
	CREATE TRIGGER tr BEFORE INSERT ON people FOR EACH ROW SET NEW.note = 'new';
	CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 42;
`

func TestMariaDBIsDumpedAndLoaded(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, p := startMariaDB(t), withSecret(t)
	s.must(s.mariadb(mariadbTables))
	s.must(s.mariadb("CREATE DATABASE copy"))
	dump := func(database string) []string {
		return []string{
			"--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob",
			"--skip-dump-date", "--default-character-set=utf8mb4", database,
		}
	}
	id := p.backUp("snap-1", p.mariadb(s, "mariadb-dump", dump("shop")...))
	load := p.mariadb(s, "mariadb", "--batch", "--database=copy", "--default-character-set=utf8mb4")
	result := p.restoreInto(id, load)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	sum := "; SET group_concat_max_len = 100000000; SELECT count(*), md5(group_concat(concat_ws('|', id, name, " +
		"hex(photo), price, born, note) ORDER BY id)) FROM people; SELECT f(); SELECT count(*) FROM old"
	g.Expect(s.mariadb("USE copy" + sum)).To(Equal(s.must(s.mariadb("USE shop" + sum))))
	result = p.restoreInto(id, load)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), "a dump replaces its tables: %s", result.Message)

	result = p.restoreInto(id, p.mariadb(s, "mariadb", "--batch", "--database=absent"))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed))
	g.Expect(result.Message).
		To(And(ContainSubstring("mariadb ended with exit code 1"), ContainSubstring("Unknown database 'absent'")))
	p.secretIsNowhere(accountPassword, `p:a\\s`)
}

func TestAMariaDBDumpThatBreaksOffIsNone(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, p := startMariaDB(t), withSecret(t)
	s.must(s.mariadb("CREATE DATABASE shop; USE shop; CREATE TABLE large (id int PRIMARY KEY, x mediumtext)"))
	for range 6 {
		s.must(s.mariadb("USE shop; INSERT INTO large SELECT coalesce(max(id), 0) + 1, '" + filler(3_000_000) +
			"' FROM large"))
	}
	for range 2 {
		s.must(s.mariadb("USE shop; INSERT INTO large SELECT id + (SELECT max(id) FROM large), x FROM large"))
	}
	dump := p.mariadb(s, "mariadb-dump", "--single-transaction", "--quick", "shop")
	busy := func() (string, error) {
		return s.mariadb(
			"SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT%FROM `large`%' AND " +
				"state = 'Writing to net'")
	}
	p.breaksOff("mariadb-dump", dump, busy, map[string]func(){
		"the program is killed": func() { p.killChild("mariadb-dump") },
		"the server ends the session": func() {
			// Whatever it does in this moment: it writes, and waits, by turns.
			id := s.must(
				s.mariadb(
					"SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT%FROM `large`%' AND id <> " +
						"connection_id()"))
			s.must(s.mariadb("KILL " + id))
		},
		"the server is killed, at last": s.kill,
	})
	_, result := p.run(t.Context(), backupTask("late", dump))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed))
	p.secretIsNowhere(accountPassword, `p:a\\s`)
}
