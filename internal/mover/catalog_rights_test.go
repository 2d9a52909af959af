package mover_test

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// mariadb-dump leaves out without a word the tables, triggers and routines that its account must not see.
func TestAMariaDBAccountWithFewRightsMakesNoHalfBackup(t *testing.T) {
	t.Parallel()
	s, p := startMariaDB(t), withSecret(t)
	s.must(s.mariadb(mariadbTables + `
		CREATE PROCEDURE pr() SELECT 1;
		CREATE DATABASE crm; CREATE TABLE crm.clients (n int); CREATE DATABASE my_crm; CREATE TABLE my_crm.t (n int);
		CREATE ROLE all_of_shop, readers;
		GRANT SELECT, TRIGGER, EVENT, SHOW VIEW ON shop.* TO all_of_shop; GRANT SELECT ON mysql.* TO all_of_shop;
		GRANT SELECT, TRIGGER, EVENT, SHOW VIEW ON *.* TO readers`))
	shop := []string{"CREATE TABLE `people`", "TRIGGER tr", "FUNCTION `f`", "PROCEDURE `pr`"}
	const few, role = "SELECT, LOCK TABLES, SHOW VIEW, EVENT ON shop.*", "SELECT, TRIGGER, EVENT ON crm.*"
	const all, routines = "SELECT, TRIGGER, EVENT, SHOW VIEW ON ", "; SELECT ON mysql.proc"
	one, everything := []string{"databases", "shop"}, []string{}
	table := []string{"databases", "shop", "tables", "people, old"}
	for name, tc := range map[string]struct {
		grants, role string
		params       []string
		lacks        []string // if it fails
		holds        []string // if not
	}{
		"few rights": {
			few, "", one, []string{"GRANT TRIGGER ON `shop`.* TO 'keeper'@'%'", "GRANT SELECT ON mysql.proc"}, nil,
		},
		"few rights are enough": {
			few, "", []string{"databases", "shop", "onlyVisible", "true"}, nil, shop[:1],
		},
		"few rights for everything": {
			few, "", everything, []string{"GRANT SELECT, TRIGGER, EVENT, SHOW VIEW ON *.* TO 'keeper'@'%'"}, nil,
		},
		"rights on tables": {
			"SELECT ON shop.people; TRIGGER ON shop.people", "", one, []string{"GRANT SELECT, TRIGGER, "}, nil,
		},
		"rights on the tables of the dump": {
			"SELECT, TRIGGER, SHOW VIEW ON shop.people; SELECT, TRIGGER, SHOW VIEW ON shop.old; EVENT ON shop.*", "",
			table, nil, shop[:2],
		},
		"rights on one of the tables": {
			"SELECT, TRIGGER ON shop.people; SELECT ON shop.old", "", table, []string{"GRANT TRIGGER, "}, nil,
		},
		"tables and commas": {
			"SELECT, TRIGGER ON shop.people; SELECT, TRIGGER, SHOW VIEW ON shop.old; EVENT ON shop.*", "",
			[]string{"databases", "shop", "tables", ",people,,,old, ,"},
			nil, shop[:2],
		},
		"no tables but commas": {
			all + "shop.*", "",
			[]string{"databases", "shop", "tables", " , "},
			[]string{"GRANT SELECT ON mysql.proc"},
			nil,
		},
		"no tables but white space": {
			all + "shop.*", "",
			[]string{"databases", "shop", "tables", " ,\n\t\r"},
			[]string{"GRANT SELECT ON mysql.proc"},
			nil,
		},
		"a pattern that the name hides": {
			few + "; SELECT, TRIGGER ON `s%`.*" + routines, "", one,
			[]string{"said: GRANT TRIGGER ON `shop`.* TO"},
			nil,
		},
		"routines of a pattern that the name hides": {
			all + "shop.*; EXECUTE ON `s%`.*", "", one, []string{"said: GRANT SELECT ON mysql.proc TO"}, nil,
		},
		"a pattern that hides another": {
			all + "`s%`.*; SELECT ON `sh%`.*" + routines, "", one,
			[]string{"said: GRANT " + all + "`shop`.* TO"},
			nil,
		},
		"a pattern of a role that the name hides": {
			"TRIGGER ON `s%`.*", "sellers", one, []string{"GRANT " + all + "`shop`.* TO"}, nil,
		},
		"two patterns that have all": {
			all + "`s%`.*; " + all + "`sh%`.*" + routines, "", one, nil, shop,
		},
		"the name, which hides a pattern": {
			all + "shop.*; SELECT ON `s%`.*" + routines, "", one, nil, shop,
		},
		"a name that is a pattern": {
			all + "`my_crm`.*; SELECT ON `m%`.*" + routines, "",
			[]string{"databases", "my_crm"},
			[]string{"GRANT " + all + "`my\\_crm`.* TO"},
			nil,
		},
		"a name that is the only pattern": {
			"SELECT ON my_crm.*" + routines, "",
			[]string{"databases", "my_crm"},
			[]string{"said: GRANT TRIGGER, EVENT, SHOW VIEW ON `my_crm`.* TO"},
			nil,
		},
		"all names, of which one is hidden": {
			all + "`%`.*; SELECT ON crm.*", "", everything, []string{"TRIGGER, EVENT, SHOW VIEW ON *.* TO"}, nil,
		},
		"all names": {all + "`%`.*; " + all + "crm.*", "", everything, nil, shop},
		"all that is needed": {
			"SELECT, TRIGGER, EVENT, SHOW VIEW ON shop.*; SELECT ON mysql.proc", "", one, nil, shop,
		},
		"a pattern": {
			"SELECT, TRIGGER, EVENT, SHOW VIEW ON `s%p`.*; SELECT ON mysql.proc", "", one, nil, shop,
		},
		"another pattern": {
			"SELECT, TRIGGER ON `sh\\_p`.*; SELECT ON mysql.proc", "", one, []string{"ON `shop`.* TO"}, nil,
		},
		"all rights on the database": {
			"ALL ON shop.*", "", one, []string{"insufficient privileges to SHOW CREATE"}, nil,
		},
		"all that everything needs":   {"SELECT, TRIGGER, EVENT, SHOW VIEW ON *.*", "", everything, nil, shop},
		"a role":                      {"", "all_of_shop", one, nil, shop},
		"a role that has too little":  {"", "all_of_shop", everything, []string{"ON *.* TO"}, nil},
		"a role for everything":       {"", "readers", everything, nil, shop},
		"a role that nobody can read": {role, "hidden", one, []string{"Rights of roles count only if"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s.must(s.mariadb(`CREATE OR REPLACE ROLE hidden, sellers; GRANT SELECT, TRIGGER ON shop.* TO hidden;
				GRANT SELECT ON shop.* TO sellers; GRANT SELECT ON mysql.* TO sellers;
				CREATE OR REPLACE USER keeper@'%' IDENTIFIED BY 'of the keeper'`))
			for grant := range strings.SplitSeq(tc.grants, "; ") {
				if grant != "" {
					s.must(s.mariadb("GRANT " + grant + " TO keeper@'%'"))
				}
			}
			if tc.role != "" {
				s.must(s.mariadb("GRANT " + tc.role + " TO keeper@'%'; SET DEFAULT ROLE " + tc.role +
					" FOR keeper@'%'"))
			}
			p.login("username", "keeper", "password", "of the keeper")
			result := catalogTask{addon: "mariadb-addon", server: s}.with(tc.params...).backup(p, name)
			if tc.lacks != nil {
				g.Expect(result.Reason).To(Equal(v1alpha1.ReasonDumpFailed))
			} else {
				g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
			}
			for _, part := range tc.lacks {
				g.Expect(result.Message).To(ContainSubstring(part))
			}
			if _, said, ok := strings.Cut(result.Message, "said: "); ok { // What the message names is enough.
				s.must(s.mariadb(strings.ReplaceAll(said, "; and more", "")))
				catalogTask{addon: "mariadb-addon", server: s}.with(tc.params...).backedUp(p, name+", granted")
			}
			for _, part := range tc.holds {
				g.Expect(p.content(result.Components[0].ID)).To(ContainSubstring(part))
			}
		})
	}
}

// mariadb-dump asks for the columns of a view, for which the server wants EXECUTE on the functions that the view calls.
func TestViewsThatCallFunctionsNeedExecute(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startMariaDB(t), withSecret(t)
	s.must(s.mariadb(`CREATE DATABASE shop; USE shop; CREATE FUNCTION f() RETURNS int RETURN 1;
		CREATE VIEW v AS SELECT f() AS n; CREATE USER keeper@'%' IDENTIFIED BY 'k';
		GRANT SELECT, TRIGGER, EVENT, SHOW VIEW ON *.* TO keeper@'%'`))
	p.login("username", "keeper", "password", "k")
	base := catalogTask{addon: "mariadb-addon", server: s}
	g.Expect(base.backup(p, "denied")).To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
		HaveField("Message", ContainSubstring("execute command denied to user 'keeper'@'%' for routine 'shop.f'"))))
	s.must(s.mariadb("GRANT EXECUTE ON *.* TO keeper@'%'"))
	for _, databases := range []string{"", "shop"} {
		made := base.with("databases", databases).backedUp(p, "granted"+databases)
		g.Expect(p.content(made.Components[0].ID)).
			To(And(ContainSubstring("VIEW `v`"), ContainSubstring("FUNCTION `f`")))
	}
}

// On Linux, tables whose names differ only in upper and lower case are two tables.
func TestRightsOnAnotherTableOfTheNameDoNotCount(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startMariaDB(t), withSecret(t)
	s.must(s.mariadb(`CREATE DATABASE shop; USE shop; CREATE TABLE orders (n int); CREATE TABLE Orders (n int);
		CREATE TRIGGER tr BEFORE INSERT ON orders FOR EACH ROW SET NEW.n = 7; CREATE USER keeper@'%' IDENTIFIED BY 'k';
		GRANT EVENT ON shop.* TO keeper@'%'; GRANT SELECT, SHOW VIEW ON shop.orders TO keeper@'%';
		GRANT SELECT, TRIGGER, SHOW VIEW ON shop.Orders TO keeper@'%'`))
	p.login("username", "keeper", "password", "k")
	task := catalogTask{addon: "mariadb-addon", server: s}.with("databases", "shop", "tables", "orders")
	g.Expect(task.backup(p, "of one")).To(And(HaveField("Reason", v1alpha1.ReasonDumpFailed),
		HaveField("Message", ContainSubstring("said: GRANT TRIGGER"))))
	s.must(s.mariadb("GRANT TRIGGER ON shop.orders TO keeper@'%'"))
	g.Expect(p.content(task.backedUp(p, "of one, granted").Components[0].ID)).To(ContainSubstring("TRIGGER tr"))
}

// Debian has no MySQL. MariaDB understands what mysql-addon asks, except for the hosts of roles.
func TestWhatMySQLIsAskedForRights(t *testing.T) {
	t.Parallel()
	s := startMariaDB(t)
	s.must(s.mariadb(`CREATE DATABASE shop; CREATE TABLE shop.a (n int); CREATE USER keeper@'%' IDENTIFIED BY 'k';
		GRANT SELECT, EVENT ON shop.* TO keeper@'%'`))
	_, functions := shipped()
	for database, says := range map[string]string{
		"shop": "GRANT TRIGGER, SHOW VIEW ON `shop`.* TO 'keeper'@'%'\nGRANT SHOW_ROUTINE ON *.* TO 'keeper'@'%'\n",
		"":     "GRANT SELECT, TRIGGER, EVENT, SHOW VIEW ON *.* TO 'keeper'@'%'\n",
	} {
		g := NewWithT(t)
		command := functions["mysql-backup"].Spec.Stream.Probe.Command
		question := strings.NewReplacer("--execute=", "", "${value}", database, "${tables}", "", "ROLE_HOST", "''''").
			Replace(command[len(command)-1])
		g.Expect(s.mariadb(question)).To(BeEmpty())
		g.Expect(s.client([]string{"MYSQL_PWD=k"}, question, "mariadb", "--no-defaults", "--batch", "--raw",
			"--skip-column-names", "--host=127.0.0.1", "--port="+s.port, "--user=keeper")).To(Equal(says))
	}
}

// A partial revoke takes a database out of what is granted on *.*. MariaDB has none: a table stands in for mysql.user.
func TestWhatMySQLIsAskedForPartialRevokes(t *testing.T) {
	t.Parallel()
	s := startMariaDB(t)
	s.must(s.mariadb(`CREATE DATABASE m; CREATE TABLE m.user (User text, Host text, User_attributes text);
		CREATE DATABASE shop; CREATE TABLE shop.t (n int); CREATE USER keeper@'%' IDENTIFIED BY 'k';
		GRANT SELECT, TRIGGER, EVENT, SHOW VIEW ON *.* TO keeper@'%'`))
	_, functions := shipped()
	command := functions["mysql-backup"].Spec.Stream.Probe.Command
	const of = "SELECT, TRIGGER, EVENT, SHOW VIEW ON `shop`.* TO 'keeper'@'%'\n"
	const each = "SELECT, TRIGGER ON each database that SHOW GRANTS has a REVOKE for TO 'keeper'@'%'\n"
	const revoked = `{"Restrictions": [{"Database": "%s", "Privileges": ["%s"]}]}`
	for _, tc := range []struct{ version, attributes, shop, everything string }{
		{"8.0.16", fmt.Sprintf(revoked, "shop", "SELECT"), "GRANT " + of, "GRANT " + each},
		{"9.1.0", fmt.Sprintf(revoked, "Shop", "TRIGGER"), "GRANT " + of, "GRANT " + each},
		{"8.4.0", fmt.Sprintf(revoked, "shops", "SELECT"), "", "GRANT " + each},
		{"8.4.0", fmt.Sprintf(revoked, "shop", "INSERT"), "", ""},
		{"8.4.0", `{"metadata": {"comment": "SELECT"}}`, "", ""},
		{"8.0.15", fmt.Sprintf(revoked, "shop", "SELECT"), "", ""},
	} {
		for database, says := range map[string]string{"shop": tc.shop, "": tc.everything} {
			s.must(s.mariadb("TRUNCATE m.user; INSERT INTO m.user VALUES ('keeper', '%', '" + tc.attributes + "')"))
			question := strings.NewReplacer("--execute=", "", "${value}", database, "${tables}", "",
				"ROLE_HOST", "''''", "VERSION()", "'"+tc.version+"'", "@@partial_revokes", "1", "mysql.user", "m.user",
				"'mysql' AND TABLE_NAME = 'user'", "'m' AND TABLE_NAME = 'user'").Replace(command[len(command)-1])
			NewWithT(t).Expect(s.client([]string{"MYSQL_PWD=k"}, question, "mariadb", "--no-defaults", "--batch",
				"--raw", "--skip-column-names", "--host=127.0.0.1", "--port="+s.port, "--user=keeper")).
				To(Equal(says), "%v", tc)
		}
	}
}
