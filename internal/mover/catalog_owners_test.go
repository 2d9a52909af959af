package mover_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Whoever owns a table of an extension can put a policy on it. It does not run with the rights of the backup.
func TestNoPolicyOfATableAnswersWhetherItHasRows(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", "CREATE DATABASE crm; CREATE ROLE keeper LOGIN PASSWORD 'k'; CREATE ROLE owner"))
	s.must(s.psql("crm", `CREATE EXTENSION lo; CREATE SCHEMA part; CREATE TABLE part.config AS SELECT 1 AS n;
		ALTER EXTENSION lo ADD TABLE part.config; ALTER TABLE part.config OWNER TO owner;
		UPDATE pg_extension SET extconfig = ARRAY['part.config'::regclass::oid], extcondition = ARRAY['']
		WHERE extname = 'lo';
		GRANT ALL ON SCHEMA part TO public; GRANT SELECT ON part.config TO public; CREATE SCHEMA evil;
		GRANT ALL ON SCHEMA evil TO public; CREATE TABLE evil.got (who text); GRANT ALL ON evil.got TO public;
		SET ROLE owner;
		CREATE FUNCTION evil.f() RETURNS bool LANGUAGE plpgsql AS
		$$BEGIN INSERT INTO evil.got SELECT current_user; RETURN true; END$$;
		CREATE POLICY trap ON part.config USING (evil.f()); ALTER TABLE part.config ENABLE ROW LEVEL SECURITY`))
	s.must(s.psql("crm", "SELECT pg_stat_reset()"))
	p.login("username", "keeper", "password", "k")
	made := catalogTask{addon: "postgres-addon", server: s}.
		with("databases", "crm", "schemas", "part", "onlyVisible", "true").backup(p, "one")
	g.Expect(made.Reason).To(Equal(v1alpha1.ReasonDumpFailed), made.Message)
	g.Expect(s.psql("crm", "TABLE evil.got")).To(Equal(""))
}

// The planner calls functions of a table's indexes and statistics before anything is read. The COPY of pg_dump plans no
// query, and neither may the probes.
func TestNoIndexOfATableRunsWithTheRightsOfTheBackup(t *testing.T) {
	t.Parallel()
	for name, trap := range map[string]string{
		"index":      "CREATE INDEX trap ON part.config (n) WHERE part.f(1)",
		"statistics": "CREATE STATISTICS part.trap ON (CASE WHEN part.f(1) THEN n END), n FROM part.config",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
			s.must(s.psql("postgres", `CREATE ROLE owner; CREATE EXTENSION lo; CREATE SCHEMA part AUTHORIZATION owner;
				CREATE TABLE part.config AS SELECT 1 AS n; ALTER TABLE part.config OWNER TO owner;
				ALTER EXTENSION lo ADD TABLE part.config; UPDATE pg_extension SET extcondition = ARRAY[''],
				extconfig = ARRAY['part.config'::regclass::oid] WHERE extname = 'lo'; SET ROLE owner;
				CREATE FUNCTION part.g() RETURNS void LANGUAGE plpgsql AS $$BEGIN IF current_user <> 'owner' THEN
				EXECUTE 'ALTER ROLE owner SUPERUSER'; END IF; END$$;
				CREATE FUNCTION part.f(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql
				AS $$BEGIN PERFORM part.g(); RETURN true; END$$;
				ALTER TABLE part.config SET (autovacuum_enabled = false); DELETE FROM part.config; `+trap))
			all := catalogTask{addon: "postgres-addon", server: s}
			for what, task := range map[string]catalogTask{
				"all": all, "one": all.with("databases", "postgres"),
				"schemas": all.with("databases", "postgres", "schemas", "part"),
			} {
				made := task.backup(p, what)
				g.Expect(made.Reason).To(Equal(v1alpha1.ReasonSucceeded), made.Message)
				g.Expect(s.psql("postgres", "SELECT rolsuper FROM pg_roles WHERE rolname = 'owner'")).
					To(Equal("f\n"), what)
			}
		})
	}
}
