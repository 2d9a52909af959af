package pgroles

import (
	"bytes"
	"strings"
)

// dropDatabase begins a line that drops a database, dropTablespace one that drops a tablespace, and createTablespace
// one that makes it anew. mostDrops is how many lines are kept that drop. All of a dump follow each other, with
// comments and empty lines between them. mostAfter is how many bytes are kept of what follows them: the roles and
// tablespaces.
const (
	dropDatabase     = "DROP DATABASE IF EXISTS "
	dropTablespace   = "DROP TABLESPACE IF EXISTS "
	createTablespace = "CREATE TABLESPACE "
	mostDrops        = 10_000
	mostAfter        = 8 << 20
)

// beforeDrops returns whether a line drops a tablespace, or others that do can follow it.
func beforeDrops(line string) bool {
	return strings.TrimSpace(line) == "" || strings.HasPrefix(line, "--") || strings.HasPrefix(line, dropTablespace)
}

// drop passes on the kept lines, after a block that prepares them, and what follows them. Nothing is kept then.
func (w *Writer) drop(out *bytes.Buffer) {
	databases, spaces := named(w.drops, dropDatabase), named(w.drops, dropTablespace)
	if databases != "" {
		out.WriteString(block(strings.NewReplacer("NAMES", databases, "SPACES", spaces, "PLACES", places(w.made)).
			Replace(prepare)))
		if w.later.dropped == 0 {
			w.later.dropped = w.later.lines + bytes.Count(out.Bytes(), []byte("\n")) + 1
		}
	}
	out.WriteString(strings.Join(w.drops, ""))
	out.Write(w.after)
	w.drops, w.after, w.made = nil, nil, nil
}

// Dropped returns whether the dump has dropped a database before a line of what the Writer passed on, counted from 1.
func (w *Writer) Dropped(line int) bool { return w.later.dropped > 0 && line > w.later.dropped }

// named returns the names after prefix in those lines that begin with it.
func named(lines []string, prefix string) string {
	var names []string
	for _, line := range lines {
		statement, ended := strings.CutSuffix(strings.TrimRight(line, "\r\n"), ";")
		identifier, begins := strings.CutPrefix(statement, prefix)
		if name, ok := literal(identifier); begins && ended && ok {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// places returns the directories in which lines make tablespaces. It leaves out what it does not understand, and a
// tablespace without a directory of its own. PostgreSQL takes no quotes in a directory.
func places(lines []string) string {
	var all []string
	for _, line := range lines {
		rest := strings.TrimPrefix(line, createTablespace)
		rest = strings.TrimPrefix(rest, cutName(rest, " OWNER ")+" OWNER ")
		rest, found := strings.CutPrefix(rest, cutName(rest, " LOCATION ")+" LOCATION '")
		inner, closed := strings.CutSuffix(strings.TrimRight(rest, "\r\n"), "';")
		if found && closed && inner != "" && !strings.ContainsAny(inner, `'\`) {
			all = append(all, dollars("place", inner))
		}
	}
	return strings.Join(all, ", ")
}
