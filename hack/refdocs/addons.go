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

// catalog is what is installed with the CRDs.
type catalog struct {
	addons    []v1alpha1.Addon
	functions []v1alpha1.Function
}

// tried is what the tests of the Addons for databases cover.
const tried = `
## What has been tried

The logical tasks run in the tests against PostgreSQL 15, MariaDB 10.11 and Redis 7.0 of Debian: all of a server and named databases,
each parameter, restores into servers that are empty, full, older in their limits or closed to the password, and broken dumps. So do
connections over TLS: with the right authority, another one, another name, with and without a client's certificate. Of the physical tasks
[their guide](../guides/physical-backups.md#what-is-proven) tells.

It has not been tried, and may fail:

- **MySQL.** No server of Oracle's or Percona's, and none of their clients: ` + "`mysql-addon`" + ` is written from their documentation. ` + "`mysqldump`" + `
  before 5.7.11 does not know ` + "`--ssl-mode`" + `. Use ` + "`mariadb-addon`" + ` for MariaDB.
- **Other versions**, and servers that speak the same protocol: Valkey, KeyDB, Dragonfly, Percona Server, TimescaleDB, CockroachDB. A restore
  goes into a server of the dump's version or, for PostgreSQL and MariaDB, a later one.
- **AppBinding** and **Cluster** of CloudNativePG as targets, beside their operators: the tests make objects of these kinds by hand.
- Redis Cluster: a dump holds what one server has. Name each primary as a target of its own. Redis before 6 knows no user and no TLS.

What the tools themselves do not do:

- ` + "`mariadb-dump --single-transaction`" + ` is one moment for InnoDB alone: tables of Aria and MyISAM may change while they are dumped, and so
  may the definition of any table.
- A restore of a named database needs that database to be there, with its encoding and owner; it does not make it. One of all of
  PostgreSQL, MariaDB or MySQL makes databases and accounts, with the passwords that they had.
- The restore of one PostgreSQL database is one transaction; all other restores may have written a part before they failed, and say so.
- ` + "`redis-cli`" + ` does not compare the certificate of a server with its name. Against a port without TLS it would wait for ever: a backup or restore
  whose server does not answer for two minutes fails.
- Where a Secret has no ca.crt, PostgreSQL's programs encrypt if the server can, but verify nothing (` + "`sslMode`" + ` says more); those of MariaDB
  and MySQL as their version does by itself; ` + "`redis-cli`" + ` does not encrypt.
`

// addonsPage describes the built-in Addons and Functions.
func addonsPage() ([]byte, error) {
	c, err := readCatalog(policies.Catalog)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString(notice)
	out.WriteString("# Built-in Addons\n\nA session names an Addon and one of its backup tasks, a RestoreSession one of its restore tasks. " +
		"They are installed with the CRDs. A StatefulSet is backed up by one Job for each pod, a DaemonSet by one for each node, " +
		"everything else by one. [Functions and Addons](../guides/functions-and-addons.md) says how to write your own.\n")
	for _, a := range c.addons {
		fmt.Fprintf(&out, "\n## %s\n", a.Name)
		writeTasks(&out, "Backup", a.Spec.BackupTasks)
		writeTasks(&out, "Restore", a.Spec.RestoreTasks)
	}
	out.WriteString(tried)
	out.WriteString("\n## Functions\n\nThe container that does a task, and for a database the program that its mover runs: for all of it, or for " +
		"each database that is named. `${name}` is a parameter or a variable, all of which " +
		"[the guide](../guides/functions-and-addons.md#variables) lists.\n\n" + head("Function", "Image", "Arguments", "Program"))
	for _, f := range c.functions {
		out.WriteString(row(code(f.Name), code(f.Spec.Image), codes(f.Spec.Args), programs(f.Spec.Stream)))
	}
	return out.Bytes(), nil
}

// programs are those that a stream may run, with their first arguments.
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

// functionsOf are the names of a task's Functions.
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
				usage += " With " + codes(p.Requires) + " only."
			}
			out.WriteString(row(code(p.Name), required, defaulted, usage))
		}
	}
}

// readCatalog reads every document of the catalog, in the order of names.
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
