package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/policies"
)

// catalog holds the Addons and Functions that are installed with the CRDs.
type catalog struct {
	addons    []v1alpha1.Addon
	functions []v1alpha1.Function
}

// tried is the section about the tests of the Addons for databases.
const tried = `
## What has been tried

The logical tasks run in the tests against PostgreSQL 15, MariaDB 10.11 and Redis 7.0 of Debian. The tests back up
whole servers and named databases with each parameter. They restore into empty servers, full servers, servers with
lower limits and servers that refuse the password, and they restore broken dumps. They connect over TLS with the right
authority, a wrong authority, a wrong name, and with and without a client certificate. For the physical tasks see
[their guide](../guides/physical-backups.md#what-is-proven).

The following has not been tried and can fail:

- **MySQL.** ` + "`mysql-addon`" + ` was tried once, by hand, with server and client of MySQL 9.7.4, without TLS. Other
  versions, and servers of Percona, were not: it is written from their documentation. ` + "`mysqldump`" + ` before 5.7.11
  does not know ` + "`--ssl-mode`" + `. Use
  ` + "`mariadb-addon`" + ` for MariaDB.
- **Other versions** of the others, and servers with the same protocol: Valkey, KeyDB, Dragonfly, Percona Server, TimescaleDB,
  CockroachDB. Restore into a server of the dump's version or, for PostgreSQL and MariaDB, of a later version.
- **AppBinding** and **Cluster** of CloudNativePG as targets together with their operators: the tests create these
  objects by hand.
- Redis before 6, which knows neither users nor TLS.

The tools themselves have these limits:

- A dump of Redis contains the data of one server. The backup of a node of a Redis Cluster fails, unless the parameter
  ` + "`clusterNode`" + ` is true. Make each primary a target of its own then. A user of Redis needs the
  rights ` + "`+sync`" + `, ` + "`+replconf`" + ` and ` + "`+info`" + `. If the server does not answer ` + "`INFO`" + `, for example because
  it is loading, the backup fails too, unless ` + "`clusterNode`" + ` is true.
- ` + "`mariadb-dump --single-transaction`" + ` is consistent for InnoDB only. Tables of Aria and MyISAM can change
  while they are dumped, and so can the definition of any table.
- ` + "`pg_dump`" + ` leaves out subscriptions, and options of user mappings, if its account is no superuser. The backup fails
  then, unless ` + "`onlyVisible`" + ` is true. Of databases in a backup of everything it looks for subscriptions, and for user mappings
  of the database that it connects to. It cannot tell a mapping without options from one whose options are hidden, unless
  it is the account's own for a server that the account may use, and does not know ` + "`args`" + ` such as ` + "`--no-subscriptions`" + ` or ` + "`--role`" + `: set ` + "`onlyVisible`" + ` where the dump is whole all the same.
  ` + "`pg_dumpall`" + ` leaves out databases that allow no connections. The backup of everything fails if there are any
  besides template0, unless ` + "`onlyVisible`" + ` is true.
- ` + "`mariadb-dump`" + ` and ` + "`mysqldump`" + ` leave out without a word what their account must not see. The backup fails if
  the account lacks rights ([which ones](../guides/databases.md#the-rights-of-the-account)), unless the parameter
  ` + "`onlyVisible`" + ` is true. ` + "`args`" + ` are not for the client that asks for the rights, so put options of the
  connection, such as ` + "`--skip-ssl`" + `, into ` + "`probeArgs`" + ` too, and set ` + "`onlyVisible`" + ` with ` + "`--skip-triggers`" + ` or the like.
- What else the tools leave out, and which of it fails a backup, is in [the
  guide](../guides/databases.md#what-a-dump-leaves-out).
- A restore of a named database needs the database to exist, with its encoding and owner. A restore of all of
  PostgreSQL, MariaDB or MySQL creates databases and accounts, with their passwords.
- A restore of all of PostgreSQL leaves the role that connects as it is, with its password and its other attributes,
  whatever the dump says. It logs in again for each database.
- A restore of all of MariaDB or MySQL replaces the accounts, also the one that restores, with its password. If the
  Secret does not open the server any more, the restore fails with ` + "`VerificationFailed`" + ` when all data is there: put the
  password of the time of the backup into the Secret, or change it in the database. The restore of the database ` + "`mysql`" + `
  alone replaces the accounts, too, but from the next restart of the server on.
- The restore of one PostgreSQL database is one transaction. All other restores can have written a part before they
  fail, and report that.
- A restore of Redis fails with ` + "`VerificationFailed`" + ` if the server evicted keys meanwhile, because its ` + "`maxmemory`" + ` is too
  small and its ` + "`maxmemory-policy`" + ` is not ` + "`noeviction`" + `. Keys of a cache that others write to count, too.
- ` + "`pg_restore`" + ` switches the server's ` + "`lock_timeout`" + ` off. A restore with ` + "`confirm`" + ` into a database that is in use waits for
  the sessions that hold its tables, for as long as ` + "`restoreTimeout`" + ` lets it. End them, or set
  ` + "`idle_in_transaction_session_timeout`" + ` on the server.
- ` + "`redis-cli`" + ` does not compare the certificate of a server with its name. Against a port without TLS it
  would wait for ever: a backup or restore fails when its server does not answer for two minutes.
- Without ca.crt in the Secret, PostgreSQL's programs encrypt if the server can, but verify nothing (see
  ` + "`sslMode`" + `). Those of MariaDB and MySQL behave as their version does by default. ` + "`redis-cli`" + ` does
  not encrypt.
`

// addonsPage describes the built-in Addons and Functions.
func addonsPage() ([]byte, error) {
	c, err := readCatalog(policies.Catalog)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString(notice)
	out.WriteString("# Built-in Addons\n\n" + paragraph(
		"A session names an Addon and one of its backup tasks. A RestoreSession names one of its restore "+
			"tasks. These Addons are installed with the CRDs. A StatefulSet is backed up by one Job for each pod,"+
			" a DaemonSet by one Job for each node, everything else by one Job. [Functions and "+
			"Addons](../guides/functions-and-addons.md) explains how to write your own."))
	for _, a := range c.addons {
		fmt.Fprintf(&out, "\n## %s\n", a.Name)
		writeTasks(&out, "Backup", a.Spec.BackupTasks)
		writeTasks(&out, "Restore", a.Spec.RestoreTasks)
	}
	out.WriteString(tried)
	out.WriteString("\n## Functions\n\n" + paragraph(
		"A Function is the container that carries out a task. For a database it also names the program that "+
			"the mover runs: for the whole server, or for each named database. `${name}` is a parameter or a "+
			"variable. [The guide](../guides/functions-and-addons.md#variables) lists the variables."))
	out.WriteString("\n" + head("Function", "Image", "Arguments", "Program"))
	for _, f := range c.functions {
		out.WriteString(row(code(f.Name), code(f.Spec.Image), codes(f.Spec.Args), programs(f.Spec.Stream)))
	}
	return out.Bytes(), nil
}

// programs returns the programs that a stream runs, with their first arguments.
func programs(s *v1alpha1.FunctionStream) string {
	if s == nil {
		return ""
	}
	all := []string{strings.Join(s.Command, " ")}
	if len(s.EachCommand) > 0 {
		all = append(all, strings.Join(s.EachCommand, " "))
	}
	if s.Finish != nil {
		all = append(all, strings.Join(s.Finish.Command, " "))
	}
	return codes(all)
}

// functionsOf returns the names of a task's Functions.
func functionsOf(t v1alpha1.Task) []string {
	if t.Function != "" {
		return []string{t.Function}
	}
	var names []string
	for _, s := range t.Steps {
		names = append(names, s.Name)
	}
	return names
}

func writeTasks(out *bytes.Buffer, what string, tasks []v1alpha1.Task) {
	for _, t := range tasks {
		fmt.Fprintf(out, "\n%s task %s: Function %s, driver %s.\n", what, code(t.Name), codes(functionsOf(t)), t.Driver)
		if len(t.Parameters) == 0 {
			continue
		}
		out.WriteString("\n" + head("Parameter", "Required", "Default", "Usage"))
		for _, p := range t.Parameters {
			required, defaulted := "", ""
			if p.Required {
				required = "yes"
			}
			if p.Default != "" {
				defaulted = code(p.Default)
			}
			usage := sentence(p.Usage)
			if len(p.Requires) > 0 {
				usage += " Only with " + codes(p.Requires) + "."
			}
			out.WriteString(row(code(p.Name), required, defaulted, usage))
		}
	}
}

// readCatalog reads every document of the catalog and sorts them by name.
func readCatalog(files fs.FS) (catalog, error) {
	var c catalog
	paths, err := fs.Glob(files, "catalog/*.yaml")
	if err != nil {
		return c, err
	}
	for _, path := range paths {
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return c, err
		}
		for _, doc := range strings.Split(string(text), "\n---\n") {
			if err := c.add([]byte(doc)); err != nil {
				return c, fmt.Errorf("read %s: %w", path, err)
			}
		}
	}
	slices.SortFunc(c.addons, func(a, b v1alpha1.Addon) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(c.functions, func(a, b v1alpha1.Function) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
}

func (c *catalog) add(doc []byte) error {
	var kind struct {
		Kind string `json:"kind"`
	}
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		return err
	}
	switch kind.Kind {
	case v1alpha1.AddonKind:
		var a v1alpha1.Addon
		if err := yaml.UnmarshalStrict(doc, &a); err != nil {
			return err
		}
		c.addons = append(c.addons, a)
	case v1alpha1.FunctionKind:
		var f v1alpha1.Function
		if err := yaml.UnmarshalStrict(doc, &f); err != nil {
			return err
		}
		c.functions = append(c.functions, f)
	default:
		return fmt.Errorf("kind %q is neither Addon nor Function", kind.Kind)
	}
	return nil
}
