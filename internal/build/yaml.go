package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// document is one document of a YAML stream, within the limits.
type document struct {
	file   string
	number int
	node   *yaml.Node // not a document node; never nil
	nodes  int        // values in it, with its aliases expanded
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// parse splits a stream into its documents, drops empty ones, and checks each against the limits. It does not expand
// aliases.
func (b *builder) parse(file string, data []byte) (docs []document) {
	if separators(data) > separatorsPerNode*b.opts.Limits.Nodes {
		b.report(v1alpha1.ReasonBuildFailed, file, 0, 0, "",
			"file has too many values: split it, or keep data that is not policy elsewhere")
		return nil
	}
	number := 1
	defer func() {
		if r := recover(); r != nil { // the parser is not ours, and a stranger wrote the file
			b.report(v1alpha1.ReasonBuildFailed, file, number, 0, "", "file is not valid YAML: %v", r)
			docs = nil
		}
	}()
	for decoder := yaml.NewDecoder(bytes.NewReader(data)); ; number++ {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			line, text := 0, err.Error()
			if m := yamlLine.FindStringSubmatch(text); m != nil {
				line, _ = strconv.Atoi(m[1])
				text = m[2]
			}
			if strings.Contains(text, "cannot start any token") && startsWithTab(data, line) {
				text = "the line begins with a tab: indent with spaces"
			}
			b.report(v1alpha1.ReasonBuildFailed, file, number, line, "", "file is not valid YAML: %s", text)
			return docs
		}
		if b.documents++; b.documents > b.opts.Limits.Documents {
			b.report(v1alpha1.ReasonBuildFailed, file, number, node.Line, "",
				"is beyond the limit of %d documents: split the directory over several PolicySyncs",
				b.opts.Limits.Documents)
			return nil
		}
		if len(node.Content) == 0 || node.Content[0].ShortTag() == "!!null" {
			continue
		}
		m := sizeMeter{limits: b.opts.Limits, done: map[*yaml.Node]nodeSize{}, open: map[*yaml.Node]bool{}}
		size, err := m.measure(node.Content[0], 0)
		if err != nil {
			b.report(v1alpha1.ReasonBuildFailed, file, number, m.line, "", "%s", err)
			continue
		}
		if b.nodes += size.nodes; b.nodes > b.opts.Limits.AllNodes {
			b.report(v1alpha1.ReasonBuildFailed, file, number, node.Line, "",
				"document brings the directory over the limit of %d values: split the directory over several "+
					"PolicySyncs",
				b.opts.Limits.AllNodes)
			return nil
		}
		docs = append(docs, document{file: file, number: number, node: node.Content[0], nodes: size.nodes})
	}
}

// separators counts the tokens that can begin a value in YAML.
func separators(data []byte) (n int) {
	for _, s := range []string{"\n", ",", "[", "{", ": ", "- ", "? "} {
		n += bytes.Count(data, []byte(s))
	}
	return n
}

// nodeSize is the size of a node with its aliases expanded.
type nodeSize struct{ nodes, height int }

// sizeMeter computes extents without expanding aliases.
type sizeMeter struct {
	limits  Limits
	aliases int
	line    int // line of the error
	done    map[*yaml.Node]nodeSize
	open    map[*yaml.Node]bool
}

func (m *sizeMeter) measure(n *yaml.Node, depth int) (nodeSize, error) {
	if e, ok := m.done[n]; ok {
		return e, m.check(n, e, depth)
	}
	if m.open[n] {
		return nodeSize{}, m.fail(n, "alias *%s refers to itself", n.Anchor)
	}
	e := nodeSize{nodes: 1, height: 1}
	if n.Kind == yaml.AliasNode {
		if m.aliases++; m.aliases > m.limits.Aliases {
			return e, m.fail(n, "document has more than %d YAML aliases: write the values out", m.limits.Aliases)
		}
		m.open[n] = true
		inner, err := m.measure(n.Alias, depth)
		delete(m.open, n)
		return inner, err
	}
	if err := m.check(n, e, depth); err != nil {
		return e, err
	}
	m.open[n] = true
	for _, child := range n.Content {
		inner, err := m.measure(child, depth+1)
		if err != nil {
			return e, err
		}
		e.nodes += inner.nodes
		e.height = max(e.height, inner.height+1)
		if err := m.check(n, e, depth); err != nil {
			return e, err
		}
	}
	delete(m.open, n)
	if n.Anchor != "" {
		m.done[n] = e
	}
	return e, nil
}

func (m *sizeMeter) check(n *yaml.Node, e nodeSize, depth int) error {
	switch {
	case depth+e.height > m.limits.Depth:
		return m.fail(n, "document is nested more than %d levels deep", m.limits.Depth)
	case e.nodes > m.limits.Nodes:
		return m.fail(n, "document has more than %d values once its YAML aliases are expanded: split it, or write the "+
			"values out", m.limits.Nodes)
	}
	return nil
}

func (m *sizeMeter) fail(n *yaml.Node, format string, args ...any) error {
	m.line = n.Line
	return fmt.Errorf(format, args...)
}

// startsWithTab reports whether a line of a file begins with white space that has a tab.
func startsWithTab(data []byte, line int) bool {
	lines := bytes.Split(data, []byte("\n"))
	if line < 1 || line > len(lines) {
		return false
	}
	text := lines[line-1]
	return bytes.ContainsRune(text[:len(text)-len(bytes.TrimLeft(text, " \t"))], '\t')
}
