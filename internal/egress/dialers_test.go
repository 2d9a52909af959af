package egress_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// dialers are what connects, or makes something that does, by package and name.
var dialers = map[string][]string{
	"net": {"Dial", "DialTimeout", "DialTCP", "DialIP", "DialUDP", "Dialer"},
	"net/http": {
		"DefaultTransport", "DefaultClient", "Transport", "Client", "Get", "Post", "Head", "PostForm",
	},
	"crypto/tls":              {"Dial", "DialWithDialer", "Dialer"},
	"golang.org/x/crypto/ssh": {"Dial"},
}

// mayConnect are the files that may, with the reason. All others use this package.
var mayConnect = map[string]string{
	"internal/egress/policy.go":            "it is the dialer",
	"internal/gitstore/wire_http.go":       "it dials by the Network that it is given",
	"internal/backend/s3.go":               "its transport dials by a Policy",
	"internal/repository/remote/webdav.go": "its transport dials by a Policy",
	"internal/repository/cloud/client.go":  "it gives the clients of clouds a Policy",
	"internal/kube/hookexec/connect.go":    "its transport dials by a Policy",
	"internal/kube/scrape/guard.go":        "it asks the API server with the client of the manager",
	"internal/pushgateway/pushgateway.go":  "its address is a flag of the administrator, not of an object",
}

// TestNobodyElseDials finds connections that pass by the rules for addresses.
func TestNobodyElseDials(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	found := map[string]bool{}
	root := filepath.Join("..", "..")
	for _, dir := range []string{"api", "cmd", "controllers", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil || strings.Contains(name, "/testbed/") || strings.Contains(name, "/enginetest/") {
				return err // servers of tests
			}
			uses, err := usesOf(path)
			for _, use := range uses {
				found[name] = true
				g.Expect(mayConnect).To(HaveKey(name), "%s uses %s: connect with internal/egress", name, use)
			}
			return err
		})
		g.Expect(err).NotTo(HaveOccurred())
	}
	for name := range mayConnect {
		g.Expect(found).To(HaveKey(name), "the exception is not needed any more")
	}
}

// usesOf returns the dialers that a file uses.
func usesOf(path string) (uses []string, _ error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	packages := map[string]string{}
	for _, i := range file.Imports {
		from := strings.Trim(i.Path.Value, `"`)
		as := from[strings.LastIndex(from, "/")+1:]
		if i.Name != nil {
			as = i.Name.Name
		}
		packages[as] = from
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				for _, name := range dialers[packages[x.Name]] {
					if s.Sel.Name == name {
						uses = append(uses, packages[x.Name]+"."+name)
					}
				}
			}
		}
		return true
	})
	return uses, nil
}
