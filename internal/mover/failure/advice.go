package failure

import "regexp"

// advices tell what to do about errors of database programs that name no way out, or a wrong one. A server can speak
// another language: only names of settings stay.
var advices = []struct {
	says *regexp.Regexp
	do   string
}{
	{
		regexp.MustCompile("because other objects depend on it"),
		"the database has objects that the dump lacks and that depend on what it replaces. Drop these; or, if the " +
			"dump is of the whole database, rename the database, create it again, empty, and restore without confirm",
	},
	{
		regexp.MustCompile("cannot drop inherited constraint"),
		"pg_restore can't replace a partitioned table that has a key. If the dump is of the whole database, rename " +
			"the database, create it again, empty, and restore without confirm",
	},
	{
		regexp.MustCompile("nothing was dropped: databases have sessions"),
		"PostgreSQL drops no database that has a session. Stop these clients and restore again. Exporters, poolers " +
			"and operators keep sessions, mostly in the database postgres; what follows a replication slot is one too",
	},
	{
		regexp.MustCompile("max_locks_per_transaction"),
		"a dump locks every table of a database in one transaction, and a restore every index, sequence and large " +
			"object too: no more than max_locks_per_transaction times max_connections. Raise " +
			"max_locks_per_transaction of the server, for example to 1024, and restart it",
	},
	{
		// 3780 and 1826 are what MySQL says for 150 and 121.
		regexp.MustCompile(`ERROR ((1050|1359|1826|3780) |1005 .*: (121|150) ")`),
		"the database has a key, view, table or trigger that the dump lacks, or has elsewhere, and that keeps a " +
			"table from being made again. If the dump is of the whole database, empty the database (DROP DATABASE, " +
			"CREATE DATABASE) and restore again, one database without confirm",
	},
	{
		regexp.MustCompile(`ERROR (1118 |1005 .*: 140 ")`),
		"the table was made with innodb_strict_mode=OFF, or with another innodb_page_size. Restore again with " +
			`args: '"--init-command=SET SESSION innodb_strict_mode=OFF"', for which MySQL wants the privilege ` +
			"SESSION_VARIABLES_ADMIN",
	},
	{
		regexp.MustCompile("Got a packet bigger than 'max_allowed_packet'"),
		"a row of the dump is longer than the server takes. Raise its max_allowed_packet, to 1G at most, and restore " +
			"again",
	},
	{
		// pg_dump has no other timeout. A statement that locks thousands of tables is too long to be in the message.
		regexp.MustCompile(`pg_dump: .*statement timeout`),
		"another transaction holds a lock on a table. If it empties or rewrites the table, a dump that waits for " +
			"it can have the table without its rows. Let the backup begin when that is over, or let the session try " +
			"again (retryConfig with a delay). If it is VACUUM FULL or CLUSTER, the dump can wait longer: parameter " +
			"lockWaitTimeout, such as 30min",
	},
	{
		// With a schema before the name, the dump itself names what is missing.
		regexp.MustCompile(`(function [^ .(]+\(.*\)|(relation|type|operator class|collation|text search [a-z]+) ` +
			`"[^".]+"|operator) does not exist`),
		"a function of the database may name it without a schema, and a dump sets an empty search path. Restore " +
			"again with the parameter searchPath, for example public (a server from PostgreSQL 17 on ignores it for " +
			"indexes and materialized views: restore into an earlier one); then give the function a path of its own, " +
			"for example ALTER FUNCTION ... SET search_path = public, so that the next dump needs none",
	},
}

// Advise adds to a message of a program what to do about it, if that is known.
func Advise(message string) string {
	for _, a := range advices {
		if a.says.MatchString(message) {
			return message + ". What to do: " + a.do
		}
	}
	return message
}
