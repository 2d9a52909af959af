package hook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
	"text/template/parse"
)

// The limits of a template: its output, the size of one value between functions, the size of all values together, and
// the number of iterations.
const (
	maxOutput     = 1 << 20
	maxValue      = 16 << 10
	maxTotalSize  = 16 << 20
	maxIterations = 10_000
)

var errTooMuch = errors.New("the template exceeds the limits of a hook")

// execute runs a Go template on the summary. It fills in ${name} after parsing, so a value is never read as a template.
// Without a summary it only checks the template.
func execute(text string, values lookup, summary *Summary) (string, error) {
	limits := &limits{}
	t, err := template.New("template").Option("missingkey=error").Funcs(limits.functions()).Parse(text)
	if err != nil {
		return "", withoutPrefix(err)
	}
	for _, t := range t.Templates() {
		if t.Tree == nil || t.Root == nil {
			continue
		}
		w := templateRewriter{values: values, tick: limits.tick(), output: limits.output()}
		w.list(t.Root)
		w.prepend(t.Root)
		if w.err != nil {
			return "", w.err
		}
	}
	if summary == nil {
		return "", nil
	}
	var out bytes.Buffer
	if err := t.Execute(&limitedWriter{w: &out, left: maxOutput}, summary); err != nil {
		return "", withoutPrefix(err)
	}
	return strings.TrimSpace(out.String()), nil
}

func withoutPrefix(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "template: "))
}

// limitedWriter fails when more than left bytes are written.
type limitedWriter struct {
	w    io.Writer
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errTooMuch
	}
	return l.w.Write(p)
}

// templateRewriter fills in the texts of a parsed template, and inserts the counting of iterations and output.
type templateRewriter struct {
	values lookup
	tick   *parse.ActionNode
	output *parse.CommandNode
	err    error
}

func (w *templateRewriter) list(l *parse.ListNode) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		w.node(n)
	}
}

func (w *templateRewriter) prepend(l *parse.ListNode) {
	l.Nodes = append([]parse.Node{w.tick.Copy()}, l.Nodes...)
}

func (w *templateRewriter) node(n parse.Node) {
	switch n := n.(type) {
	case *parse.TextNode:
		text := w.expand(string(n.Text))
		n.Text = []byte(text)
	case *parse.StringNode:
		n.Text = w.expand(n.Text)
	case *parse.ActionNode:
		w.pipe(n.Pipe)
		if len(n.Pipe.Decl) == 0 {
			n.Pipe.Cmds = append(n.Pipe.Cmds, w.output.Copy().(*parse.CommandNode))
		}
	case *parse.PipeNode:
		w.pipe(n)
	case *parse.CommandNode:
		for _, arg := range n.Args {
			w.node(arg)
		}
	case *parse.IfNode:
		w.branch(&n.BranchNode)
	case *parse.WithNode:
		w.branch(&n.BranchNode)
	case *parse.RangeNode:
		w.branch(&n.BranchNode)
		w.prepend(n.List)
	case *parse.TemplateNode:
		w.pipe(n.Pipe)
	case *parse.ChainNode:
		w.node(n.Node)
	}
}

func (w *templateRewriter) branch(b *parse.BranchNode) {
	w.pipe(b.Pipe)
	w.list(b.List)
	w.list(b.ElseList)
}

func (w *templateRewriter) pipe(p *parse.PipeNode) {
	if p == nil {
		return
	}
	for _, c := range p.Cmds {
		w.node(c)
	}
}

func (w *templateRewriter) expand(text string) string {
	out, err := expand(text, w.values)
	if err != nil && w.err == nil {
		w.err = err
	}
	return out
}

// snippet returns the only action of a template that calls functions of l.
func (l *limits) snippet(text string) *parse.ActionNode {
	t := template.Must(template.New("").Funcs(l.functions()).Parse(text))
	action, ok := t.Root.Nodes[0].(*parse.ActionNode)
	if !ok {
		panic(fmt.Sprintf("%q is not an action", text))
	}
	return action
}

// tick returns an action that counts an iteration.
func (l *limits) tick() *parse.ActionNode { return l.snippet("{{" + iterationName + "}}") }

// output returns a command that counts its input and passes it on.
func (l *limits) output() *parse.CommandNode {
	return l.snippet("{{1 | " + outputName + "}}").Pipe.Cmds[1]
}
