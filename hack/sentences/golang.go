package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strconv"
	"strings"
)

// leastWords is the number of words that make a string literal a message.
const leastWords = 4

// product are the directories whose messages users read.
var product = []string{"api/", "cmd/", "controllers/", "internal/"}

// comments returns the sentences of the comments of a Go file. Markers for tools and commented code are no sentences.
func comments(file string, content []byte) []sentence {
	tree, set := parse(file, content)
	if tree == nil {
		return nil
	}
	var out []sentence
	for _, group := range tree.Comments {
		var lines []line
		for _, c := range group.List {
			lines = append(lines, commentLines(c.Text, set.Position(c.Pos()).Line)...)
		}
		out = append(out, sentences(file, lines)...)
	}
	return out
}

// commentLines returns the text of one comment. An indented line is code, and a line of a marker ends the sentence
// before it.
func commentLines(text string, first int) []line {
	if block, is := strings.CutPrefix(text, "/*"); is {
		var out []line
		for i, l := range strings.Split(strings.TrimSuffix(block, "*/"), "\n") {
			out = append(out, line{first + i, strings.TrimSpace(l)})
		}
		return out
	}
	body := strings.TrimPrefix(text, "//")
	marker := body != "" && body[0] != ' ' && body[0] != '\t' // go:build, nolint:
	indented := strings.HasPrefix(body, "\t") || strings.HasPrefix(body, "  ")
	body = strings.TrimSpace(body)
	if marker || indented || strings.HasPrefix(body, "+") {
		body = ""
	}
	return []line{{first, body}}
}

// messages returns the sentences of the string literals of a Go file of the product. Literals that are added to each
// other are one message; a value between them is an ellipsis.
func messages(file string, content []byte) []sentence {
	if strings.HasSuffix(file, "_test.go") || !inProduct(file) {
		return nil
	}
	tree, set := parse(file, content)
	if tree == nil {
		return nil
	}
	var out []sentence
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BinaryExpr:
			if text, is := added(n); is {
				out = append(out, message(file, set.Position(n.Pos()).Line, text)...)
				return false
			}
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				out = append(out, message(file, set.Position(n.Pos()).Line, literal(n))...)
			}
		}
		return true
	})
	return out
}

func inProduct(file string) bool {
	for _, dir := range product {
		if strings.HasPrefix(file, dir) {
			return !strings.HasPrefix(path.Base(file), "zz_generated")
		}
	}
	return false
}

// added returns the text of string literals that are added, and whether there is a literal among the summands.
func added(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return literal(e), e.Kind == token.STRING
	case *ast.BinaryExpr:
		if e.Op != token.ADD {
			return "…", false
		}
		left, a := added(e.X)
		right, b := added(e.Y)
		return left + right, a || b
	}
	return "…", false
}

func literal(l *ast.BasicLit) string {
	text, err := strconv.Unquote(l.Value)
	if err != nil {
		return ""
	}
	return text
}

// message returns the sentences of a literal that is long enough. Its lines that are indented or look like YAML are
// samples of input.
func message(file string, first int, text string) []sentence {
	if words(text) < leastWords {
		return nil
	}
	raw := strings.Split(text, "\n")
	lines := make([]line, 0, len(raw))
	for i, l := range raw {
		if len(raw) > 1 && (l != strings.TrimLeft(l, " \t") || sample.MatchString(l)) {
			l = ""
		}
		lines = append(lines, line{first + i, strings.TrimSpace(l)})
	}
	return sentences(file, lines)
}

// parse returns no tree for a file that is no Go.
func parse(file string, content []byte) (*ast.File, *token.FileSet) {
	if path.Ext(file) != ".go" {
		return nil, nil
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, nil
	}
	return tree, set
}
