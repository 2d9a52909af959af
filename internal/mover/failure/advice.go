package failure

import "strings"

// advices tell what to do about errors of database programs that name no way out, or a wrong one. A server can speak
// another language: only names of settings stay.
var advices = []struct{ says, do string }{
	{
		"because other objects depend on it",
		"the database has objects that the dump lacks and that depend on what it replaces. Drop these; or, if the " +
			"dump is of the whole database, rename the database, create it again, empty, and restore without confirm",
	},
	{
		"max_locks_per_transaction",
		"a dump locks every table of a database in one transaction, and a restore every index and sequence too. " +
			"Raise max_locks_per_transaction of the server, for example to 1024, and restart it",
	},
	{
		"Got a packet bigger than 'max_allowed_packet'",
		"a row of the dump is longer than the server takes. Raise its max_allowed_packet, to 1G at most, and restore " +
			"again",
	},
}

// Advise adds to a message of a program what to do about it, if that is known.
func Advise(message string) string {
	for _, a := range advices {
		if strings.Contains(message, a.says) {
			return message + ". What to do: " + a.do
		}
	}
	return message
}
