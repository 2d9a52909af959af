package pgroles

import "strings"

// quotes follows what is open in the beginning of a dump: a string, a quoted name, or the rest of a line that is a
// comment or a command of psql. Strings hold what anybody wrote, with its line breaks: each role can set its own
// search_path. pg_dumpall writes neither dollar quotes nor comments of several lines there. It doubles each quote in a
// string or a name, and each backslash where one has a meaning. So a quote always opens or closes.
type quotes struct {
	open byte // what closes it, or 0
	last byte // the byte before
}

// line returns how many bytes of b belong to the line, and whether the line ends with them. It ends at the first line
// break where nothing is open. So each line begins where nothing is open, too.
func (q *quotes) line(b []byte) (int, bool) {
	for at, c := range b {
		before := q.last
		q.last = c
		switch {
		case q.open == c, q.open == '\n' && c == '\r': // psql ends a comment at either
			q.open = 0
		case q.open != 0:
			continue
		case c == '\'', c == '"':
			q.open = c
		case c == '\\', c == '-' && before == '-':
			q.open = '\n'
		}
		if c == '\n' && q.open == 0 {
			return at + 1, true
		}
	}
	return len(b), false
}

// dollars returns a text in dollar quotes. Their mark, which begins with a word, is one that the text does not close.
// Nothing in the text is special then, neither quotes nor backslashes.
func dollars(word, text string) string {
	mark := "$" + word + "$"
	for strings.Index(text+mark, mark) < len(text) {
		word += "_"
		mark = "$" + word + "$"
	}
	return mark + text + mark
}

// literal returns the name that an identifier stands for as a string of SQL.
func literal(identifier string) (string, bool) {
	name, ok := unquoted(identifier)
	return dollars("name", name), ok
}

// cutName returns the identifier before the first separator that is not a part of it, or "".
func cutName(text, separator string) string {
	for at := 0; ; {
		next := strings.Index(text[at:], separator)
		if next < 0 {
			return ""
		}
		at += next
		if strings.Count(text[:at], `"`)%2 == 0 {
			return text[:at]
		}
		at += len(separator)
	}
}

// unquoted returns the name that an identifier stands for.
func unquoted(identifier string) (string, bool) {
	inner, quoted := strings.CutPrefix(identifier, `"`)
	if !quoted {
		return identifier, identifier != "" && strings.Trim(identifier, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
	}
	inner, closed := strings.CutSuffix(inner, `"`)
	pairs := strings.ReplaceAll(inner, `""`, "")
	return strings.ReplaceAll(inner, `""`, `"`), closed && inner != "" && !strings.Contains(pairs, `"`)
}
