package mover_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Who may write in one database chooses names and bodies of routines. A restore, which runs as root, must run none of
// them as statements: neither what the client sees in the dump, nor what the filter makes of it.
func TestARestoreRunsNoNamesAndCommentsOfMariaDB(t *testing.T) {
	t.Parallel()
	s, p := startMariaDB(t), withSecret(t)
	base := catalogTask{addon: "mariadb-addon", server: s}
	for name, statement := range map[string]string{
		"the name of a column holds a line that locks tables": "CREATE TABLE t (\n" +
			"` int);GRANT ALL ON *.* TO eve;DO 1/*` int COMMENT 'nextval(`',\n`a\nLOCK TABLES ``b` int,\n" +
			"PRIMARY KEY (` int);GRANT ALL ON *.* TO eve;DO 1/*`))",
		"a comment in a routine": "DELIMITER $\nCREATE PROCEDURE pr() BEGIN DECLARE definer int; " +
			"SET @s = '\nDELIMITER ;\n/*!50003 DROP FUNCTION IF EXISTS `x` */;\n/*'; SET @a = /* \n" +
			"CREATE DEFINER=5; END;;GRANT ALL ON *.* TO eve;;DO 1 /* \n*/ 1; END$",
		"the name of a routine": "CREATE FUNCTION `a*/GRANT ALL ON *.* TO eve #`() RETURNS int RETURN 1",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s.must(s.mariadb("CREATE OR REPLACE DATABASE zoo; CREATE OR REPLACE USER eve IDENTIFIED BY 'e'; " +
				"GRANT ALL ON zoo.* TO eve"))
			before := s.must(s.mariadb("SHOW GRANTS FOR eve"))
			out, err := s.client([]string{"MYSQL_PWD=e"}, statement, "mariadb", "--no-defaults", "--comments",
				"--host=127.0.0.1", "--port="+s.port, "--user=eve", "zoo")
			g.Expect(err).NotTo(HaveOccurred(), out)
			for _, database := range []string{"", "zoo"} {
				made := base.with("databases", database).backedUp(p, name+database)
				result := base.confirmed().restore(p, made)
				g.Expect(s.mariadb("SHOW GRANTS FOR eve")).To(Equal(before), result.Message)
				g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
			}
		})
	}
}

// A dump that somebody else wrote can ask the client for files of its container. The client sends none.
func TestARestoreSendsNoFilesToMariaDB(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	s, p := startMariaDB(t), withSecret(t)
	file := filepath.Join(t.TempDir(), "file")
	g.Expect(os.WriteFile(file, []byte("a secret of the client\n"), 0o644)).To(Succeed())
	id := p.backUp("snap-1", dumpOf("cat <<'END'\nCREATE DATABASE zoo; CREATE TABLE zoo.t (a text);\n"+
		"LOAD DATA LOCAL INFILE '"+file+"' INTO TABLE zoo.t;\nEND"))
	in := restoreTask(id)
	in.Components = catalogTask{addon: "mariadb-addon", server: s}.components(p, true, "dump")
	in.Components[0].ID = id
	_, result := p.run(t.Context(), in)
	g.Expect(s.mariadb("SELECT * FROM zoo.t")).To(BeEmpty(), "%s: %s", result.Reason, result.Message)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), result.Message)
}
