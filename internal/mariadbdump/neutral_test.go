package mariadbdump_test

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// pieces of lines, of which a hostile user makes a dump, as far as names, strings and comments let it.
var pieces = []string{
	"CREATE TABLE `t` (\n", "  `id` int DEFAULT nextval(`s`.`i`),\n", ") ENGINE=InnoDB;\n", "LOCK TABLES `t` WRITE;\n",
	"LOCK TABLES ``b` int,\n", "LOCK TABLES `a` WRITE, `b` WRITE;\n", "LOCK TABLES `/*'` WRITE;\n",
	"LOCK TABLES ` WRITE;\n", "LOCK TABLES `\\` WRITE;\n", "LOCK TABLES `*/` WRITE;\n",
	"/*!50003 DROP FUNCTION IF EXISTS `f` */;\n", "/*!50003 DROP PACKAGE BODY IF EXISTS `,` */;\n",
	"/*!50003 DROP FUNCTION IF EXISTS `a*/ b` */;\n", "/*!50003 DROP FUNCTION IF EXISTS `/*` */;\n",
	"/*!50003 DROP FUNCTION IF EXISTS `a``b` */;\n", "/*!50003 DROP FUNCTION IF EXISTS `a' */;\n",
	"/*!50003 SET x = '' */ ;\n", "/*'; /* \n", "ALTER DATABASE `", "DELIMITER ;;\n", "DELIMITER ;\n",
	"CREATE DEFINER=`a`@`b` FUNCTION\n", "CREATE DEFINER=5; END;;\n", "CREATE DEFINER=/*", "CREATE DEFINER='",
	"'", "\"", "`", "\\", "/*", "*/", "-- ", "--", "#", "\n", "\n", ";", ";;", " x", "/*!50003 ",
	"/*!50700 ", "/*M!100103 ",
}

// touched is all that a change may add or take away.
var touched = regexp.MustCompile("[A-Za-z0-9 @]")

// Whatever a changed line is part of, the client and the server see the same quotes and comments after it.
func TestChangesAreNeutral(t *testing.T) {
	t.Parallel()
	g, random, changed := NewWithT(t), rand.New(rand.NewPCG(1, 2)), 0
	for range 50_000 {
		var b strings.Builder
		b.WriteString(header)
		for range 3 + random.IntN(20) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		text := b.String()
		out := through(t, text, len(text))
		if out == text {
			continue
		}
		changed++
		g.Expect(touched.ReplaceAllString(out, "")).To(Equal(touched.ReplaceAllString(text, "")))
		for _, reader := range []lexer{{}, {server: true}, {escapes: true}, {server: true, escapes: true}} {
			g.Expect(reader.states(out)).To(Equal(reader.states(text)), "%+v\n%s", reader, text)
		}
	}
	g.Expect(changed).To(BeNumerically(">", 1000))
}

// lexer finds the quotes and the comments of statements.
type lexer struct {
	server  bool // it leaves out comments for other versions, in which it knows no quotes
	escapes bool // a backslash in a string quotes
}

// skipped is how comments for other servers than MariaDB begin.
var skipped = regexp.MustCompile(`^/\*!(50[7-9]|5[1-9]|[6-9])`)

// states returns what is open at the end of each line: a quote, a comment, a comment in a comment, or nothing.
func (l lexer) states(text string) (at []string) {
	state, comments, nests := "", 0, false
	for i := 0; i < len(text); i++ {
		rest := text[i:]
		two := rest[:min(2, len(rest))]
		switch {
		case rest[0] == '\n':
			if state == "#" {
				state = ""
			}
			at = append(at, strings.Repeat(state, max(comments, 1)))
		case state == "#":
		case state == "/*":
			switch {
			case two == "*/":
				comments--
				i++
			case two == "/*" && nests && comments == 1:
				comments++
				i++
			}
			if comments == 0 {
				state = ""
			}
		case state != "":
			switch {
			case rest[0] == '\\' && l.escapes && state != "`":
				if len(rest) > 1 && rest[1] != '\n' {
					i++
				}
			case rest[:1] == state:
				state = ""
			}
		case strings.HasPrefix(rest, "/*!"), strings.HasPrefix(rest, "/*M!"):
			if l.server && skipped.MatchString(rest) {
				state, comments, nests = "/*", 1, true
			}
			i++
		case two == "/*":
			state, comments, nests = "/*", 1, false
			i++
		case rest[0] == '#', strings.HasPrefix(rest, "-- "), strings.HasPrefix(rest, "--\n"):
			state = "#"
		case strings.ContainsRune("'\"`", rune(rest[0])):
			state = rest[:1]
		}
	}
	return at
}
