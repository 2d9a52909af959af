package build

import (
	"fmt"
	"math"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// sources converts documents to objects. It returns the items of a List as separate objects.
func (b *builder) sources(docs []document) []source {
	var out []source
	for _, d := range docs {
		if d.node.Kind != yaml.MappingNode {
			b.report(v1alpha1.ReasonValidationFailed, d.file, d.number, d.node.Line, "",
				"document is not an object: it must have apiVersion, kind and metadata")
			continue
		}
		before := b.mistakes()
		content, _ := (&converter{b: b, doc: d}).convert(d.node, "").(map[string]any)
		if b.mistakes() > before {
			continue
		}
		if content["apiVersion"] == "v1" && content["kind"] == "List" {
			out = append(out, b.items(d, content)...)
			continue
		}
		out = append(out, source{content: content, file: d.file, document: d.number, node: d.node})
	}
	return out
}

func (b *builder) items(d document, list map[string]any) []source {
	var out []source
	values, _ := list["items"].([]any)
	for i, value := range values {
		at := fmt.Sprintf("items[%d]", i)
		node, _ := find(d.node, at)
		item, ok := value.(map[string]any)
		if !ok || node == nil {
			b.report(v1alpha1.ReasonValidationFailed, d.file, d.number, lineOf(d.node, at), at,
				"is not an object: it must have apiVersion, kind and metadata")
			continue
		}
		out = append(out, source{content: item, file: d.file, document: d.number, node: node})
	}
	return out
}

// converter turns nodes into the values that encoding/json would have read. The size of the document was checked
// before.
type converter struct {
	b   *builder
	doc document
}

func (c *converter) convert(n *yaml.Node, field string) any {
	switch n.Kind {
	case yaml.AliasNode:
		return c.convert(n.Alias, field)
	case yaml.MappingNode:
		return c.mapping(n, field)
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, child := range n.Content {
			out[i] = c.convert(child, field+"["+strconv.Itoa(i)+"]")
		}
		return out
	}
	return c.scalar(n, field)
}

func (c *converter) mapping(n *yaml.Node, field string) map[string]any {
	out := make(map[string]any, len(n.Content)/2)
	lines := map[string]int{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		for key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.ShortTag() == "!!merge" {
			merges = append(merges, value)
			continue
		}
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null" {
			c.report(key, field, "key of a mapping must be a text")
			continue
		}
		child := join(field, key.Value)
		if first, ok := lines[key.Value]; ok {
			c.report(key, child, "key is defined twice, first at line %d: remove one", first)
			continue
		}
		lines[key.Value] = n.Content[i].Line
		out[key.Value] = c.convert(value, child)
	}
	for _, m := range merges {
		c.merge(out, m, field)
	}
	return out
}

// merge adds what "<<" brings, without replacing existing keys.
func (c *converter) merge(out map[string]any, n *yaml.Node, field string) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, child := range n.Content {
			c.merge(out, child, field)
		}
	case yaml.MappingNode:
		for k, v := range c.mapping(n, field) {
			if _, ok := out[k]; !ok {
				out[k] = v
			}
		}
	default:
		c.report(n, field, "<< must be followed by an alias of a mapping")
	}
}

func (c *converter) scalar(n *yaml.Node, field string) any {
	var err error
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		var v bool
		if err = n.Decode(&v); err == nil {
			return v
		}
	case "!!int":
		var v int64
		if err = n.Decode(&v); err == nil {
			return v
		}
	case "!!float":
		var v float64
		if err = n.Decode(&v); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
			return v
		}
	case "!!str", "!!timestamp":
		return n.Value
	}
	c.report(n, field, "value can't be read as %s", n.ShortTag())
	return nil
}

func (c *converter) report(n *yaml.Node, field, format string, args ...any) {
	c.b.report(v1alpha1.ReasonBuildFailed, c.doc.file, c.doc.number, n.Line, field, format, args...)
}
