package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// plantedCode are breaks of the rules for code.
func plantedCode() []planted {
	out := []planted{
		sized("funlen", "func Do",
			"// Do does it.\nfunc Do(n int) int {\n"+strings.Repeat("\tn++\n", 60)+"\treturn n\n}"),
		sized("nakedret", "return", "// Do does it.\nfunc Do(n int) (out int) {\n"+
			strings.Repeat("\tn++\n", 40)+"\tout = n\n\treturn\n}"),
		sized("gocognit", "func Do", "// Do does it.\nfunc Do(n int) int {\n\tfor range n {\n"+
			strings.Repeat("\t\tif n > 3 {\n\t\t\tn--\n\t\t}\n", 13)+"\t}\n\treturn n\n}"),
		sized("revive/file-length-limit", "",
			"// Do does it.\nfunc Do() {}\n"+strings.Repeat("\n// A comment.\n", 200)),
		{
			rule: "revive/package-comments", file: "internal/uncommented/code.go", at: "package",
			source: "package uncommented\n",
		},
		{file: "internal/matched/code_test.go", source: "package matched\n\nimport . \"github.com/onsi/gomega\"\n\n" +
			"var _ Zero\n"},
	}
	for _, b := range small {
		out = append(out, sized(b.rule, b.at, b.source))
	}
	return slices.Concat(out, plantedClocks(), plantedStatuses(), plantedExceptions())
}

var noLetters = regexp.MustCompile(`[^a-z0-9]`)

// sized returns a file in a package of its own. The code of a test imports testing.
func sized(rule, at, code string) planted {
	name := noLetters.ReplaceAllString(strings.ToLower(rule), "")
	suffix := ""
	if strings.Contains(code, `"testing"`) {
		suffix = "_test"
	}
	return planted{
		rule: rule, at: at, file: fmt.Sprintf("internal/%s/code%s.go", name, suffix),
		source: fmt.Sprintf("// Package %[1]s breaks a rule.\npackage %[1]s\n\n%s\n", name, strings.TrimSpace(code)),
	}
}

// misspelt is a word in two parts, so that it breaks the rule only where it is planted.
const misspelt = "rec" + "ieve"

// small are breaks in few lines, each with a part of the line that is reported.
var small = []struct{ rule, at, source string }{
	{"bodyclose", "http.Get", `
import "net/http"

// Status returns the status of url.
func Status(url string) int {
	r, err := http.Get(url)
	if err != nil {
		return 0
	}
	return r.StatusCode
}`},
	{"copyloopvar", "n := n", `
// Each calls do.
func Each(all []int, do func(func() int)) {
	for _, n := range all {
		n := n
		do(func() int { return n })
	}
}`},
	{"errcheck", "os.Remove", `
import "os"

// Remove removes a file.
func Remove(name string) {
	os.Remove(name)
}`},
	{"errorlint", "Errorf", `
import (
	"fmt"
	"os"
)

// Remove removes a file.
func Remove(name string) error {
	if err := os.Remove(name); err != nil {
		return fmt.Errorf("remove: %v", err)
	}
	return nil
}`},
	{`forbidigo/^fmt\.Print.*$`, "fmt.Println", `
import "fmt"

// Greet greets.
func Greet() {
	fmt.Println("hello")
}`},
	{"govet", "Sprintf", `
import "fmt"

// Number returns a number.
func Number() string {
	return fmt.Sprintf("%d", "one")
}`},
	{"ineffassign", "n := 1", `
// One returns one.
func One() int {
	n := 1
	n = 1 + len("")
	return n
}`},
	{"intrange", "for i", `
// Times calls do.
func Times(do func(int)) {
	for i := 0; i < 10; i++ {
		do(i)
	}
}`},
	{"misspell", misspelt, "// Get can " + misspelt + " nothing.\nfunc Get() {}"},
	{"modernize", "interface{}", `
// Any is anything.
type Any struct{ Value interface{} }`},
	{"nolintlint", "//nolint:errcheck", `
import "os"

// Remove removes a file.
func Remove(name string) {
	os.Remove(name) //nolint:errcheck
}`},
	{"staticcheck", "n == n", `
// Same reports whether n is n.
func Same(n int) bool {
	return n == n
}`},
	{"unconvert", "int(n)", `
// Same returns n.
func Same(n int) int {
	return int(n)
}`},
	{"unparam", "func add", `
// Three returns three.
func Three(n int) int {
	sum, err := add(n, 1)
	if err != nil {
		return 0
	}
	more, err := add(sum, 2)
	if err != nil {
		return sum
	}
	return more
}

func add(n, more int) (int, error) {
	for range n {
		n += more
	}
	return n, nil
}`},
	{"unused", "func nobody", `
func nobody() {}`},
	{"thelper", "func helper", `
import "testing"

func TestHelper(t *testing.T) {
	helper(1, t)
}

func helper(n int, t *testing.T) {
	t.Log(n)
}`},
	{"usetesting", "os.Setenv", `
import (
	"os"
	"testing"
)

func TestEnvironment(t *testing.T) {
	if err := os.Setenv("A", "b"); err != nil {
		t.Fatal(err)
	}
}`},
	{"gofumpt", "", `
// Get gets.
func Get() {

	Get()
}`},
	{"gci", `"github.com/onsi/gomega"`, `
import (
	gomega "github.com/onsi/gomega"
	"strings"
)

// Zero is for the imports.
var Zero, Builder = gomega.Zero{}, strings.Builder{}`},
	{"revive/blank-imports", `_ "strings"`, `
import _ "strings"

// Do does nothing.
func Do() {}`},
	{"revive/context-as-argument", "ctx", `
import "context"

// Do waits.
func Do(n int, ctx context.Context) error {
	for range n {
		<-ctx.Done()
	}
	return ctx.Err()
}`},
	{"revive/context-keys-type", `"key"`, `
import "context"

// With has a value.
func With(ctx context.Context) context.Context {
	return context.WithValue(ctx, "key", 1)
}`},
	{"revive/dot-imports", `. "strings"`, `
import . "strings"

// Upper is here for the import.
var Upper = ToUpper("x")`},
	{"revive/early-return", "if len(all)", `
// Sum returns a sum.
func Sum(all []int) int {
	if len(all) > 0 {
		sum := 0
		for _, n := range all {
			sum += n
		}
		all[0] = sum
	} else {
		return 0
	}
	return all[0]
}`},
	{"revive/error-naming", "wrong", `
import "errors"

var wrong = errors.New("wrong")

// Wrong fails.
func Wrong() error {
	return wrong
}`},
	{"revive/error-return", "(error, int)", `
// Do returns nothing.
func Do() (error, int) {
	return nil, 0
}`},
	{"revive/errorf", "errors.New", `
import (
	"errors"
	"fmt"
)

// Wrong fails.
func Wrong(n int) error {
	return errors.New(fmt.Sprintf("wrong %d", n))
}`},
	{"revive/exported", "func Do", `
func Do() {}`},
	{"revive/increment-decrement", "n += 1", `
// Next returns the next number.
func Next(n int) int {
	n += 1
	return n
}`},
	{"revive/indent-error-flow", "else", `
// Sign returns the sign of n.
func Sign(n int) int {
	if n < 0 {
		return -1
	} else {
		return 1
	}
}`},
	{"revive/range", "range", `
// Sum returns a sum.
func Sum(all []int) int {
	sum := 0
	for i, _ := range all {
		sum += i
	}
	return sum
}`},
	{"revive/receiver-naming", "other T", `
// T is a type.
type T struct{ n int }

// One returns a number.
func (t T) One() int { return t.n }

// Two returns a number.
func (other T) Two() int { return other.n }`},
	{"revive/superfluous-else", "else", `
// Sum returns a sum.
func Sum(all []int) int {
	sum := 0
	for _, n := range all {
		if n < 0 {
			continue
		} else {
			sum += n
		}
	}
	return sum
}`},
	{"revive/time-naming", "waitSecs", `
import "time"

// Wait returns a time.
func Wait() time.Duration {
	var waitSecs time.Duration = 2
	return waitSecs
}`},
	{"revive/unreachable-code", "return n", `
// Same returns n.
func Same(n int) int {
	return n
	n++
	return n
}`},
	{"revive/unused-parameter", "func Do", `
// Do does nothing.
func Do(n int) {}`},
	{"revive/var-declaration", "var n int = 1", `
// One returns one.
func One() int {
	var n int = 1
	return n
}`},
	{"revive/var-naming", "userId", `
// Same returns a number.
func Same(userId int) int {
	return userId
}`},
}
