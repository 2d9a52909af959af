package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// TestLinesOfTheLogAreDocumented compares the page of the log with the messages that the manager logs: each message on
// the page is logged, and each message is on the page. One row stands for all messages that begin with "waits", and a
// row of information also for its message at V(1).
func TestLinesOfTheLogAreDocumented(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile("reference/log.md")
	g.Expect(err).NotTo(HaveOccurred())
	information, debugging, found := strings.Cut(string(page), "## Lines at the level of debugging")
	g.Expect(found).To(BeTrue())
	logged, debugged := loggedMessages(t)
	g.Expect(messagesOf(information)).To(ConsistOf(logged), "the lines at the level of information")
	others := slices.DeleteFunc(slices.Clone(debugged), func(message string) bool {
		return strings.HasPrefix(message, "waits") || slices.Contains(logged, message)
	})
	for _, message := range messagesOf(debugging) {
		begins, isBeginning := strings.CutSuffix(message, "…")
		g.Expect(debugged).To(ContainElement(HavePrefix(begins)), "a line at the level of debugging")
		others = slices.DeleteFunc(others, func(other string) bool {
			return other == message || isBeginning && strings.HasPrefix(other, begins)
		})
	}
	g.Expect(others).To(BeEmpty(), "the lines at the level of debugging that the page lacks")
}

// messagesOf returns the messages in the first column of the tables.
func messagesOf(page string) []string {
	var out []string
	for row := range strings.Lines(page) {
		if !strings.HasPrefix(row, "| `") {
			continue
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(first, -1) {
			out = append(out, quoted[1])
		}
	}
	return out
}

// loggedMessages returns the messages of the manager's code, each once: those of lines at the level of information, and
// those at V(1). A message is a constant, or begins with one.
func loggedMessages(t *testing.T) (information, debugging []string) {
	t.Helper()
	levels := map[string]map[bool]bool{}
	for _, room := range []string{"cmd/manager", "controllers", "internal/kube", "internal/pushgateway"} {
		err := filepath.WalkDir(filepath.Join("..", room), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if message, debug, ok := logCall(n); ok {
					NewWithT(t).Expect(message).NotTo(BeEmpty(), "a message that is no constant, in "+path)
					if levels[message] == nil {
						levels[message] = map[bool]bool{}
					}
					levels[message][debug] = true
				}
				return true
			})
			return nil
		})
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
	}
	for message, at := range levels {
		if at[false] {
			information = append(information, message)
		}
		if at[true] {
			debugging = append(debugging, message)
		}
	}
	return information, debugging
}

// logCall reports whether n is a call of Info that logs a message, and whether it is at V(1). It returns the constant
// that the message is or begins with, or "".
func logCall(n ast.Node) (message string, debug, ok bool) {
	call, isCall := n.(*ast.CallExpr)
	if !isCall || len(call.Args) == 0 {
		return "", false, false
	}
	method, isMethod := call.Fun.(*ast.SelectorExpr)
	if !isMethod || method.Sel.Name != "Info" {
		return "", false, false
	}
	message = constant(call.Args[0])
	receiver, isCall := method.X.(*ast.CallExpr)
	if !isCall {
		return message, false, true
	}
	level, isMethod := receiver.Fun.(*ast.SelectorExpr)
	return message, isMethod && level.Sel.Name == "V", true
}

// constant returns the string that an expression is or begins with, or "".
func constant(e ast.Expr) string {
	if sum, ok := e.(*ast.BinaryExpr); ok {
		return constant(sum.X)
	}
	literal, ok := e.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return ""
	}
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		return ""
	}
	return text
}
