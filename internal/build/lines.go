package build

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// join adds a key to a field path as Kubernetes writes it: a key with a dot or slash stands in brackets.
func join(field, key string) string {
	switch {
	case strings.ContainsAny(key, "./[]"):
		return field + "[" + key + "]"
	case field == "":
		return key
	}
	return field + "." + key
}

// split undoes join.
func split(field string) []string {
	var out []string
	for field != "" {
		if field[0] == '[' {
			end := strings.IndexByte(field, ']')
			if end < 0 {
				return append(out, field[1:])
			}
			out, field = append(out, field[1:end]), strings.TrimPrefix(field[end+1:], ".")
			continue
		}
		end := strings.IndexAny(field, ".[")
		if end < 0 {
			return append(out, field)
		}
		out, field = append(out, field[:end]), strings.TrimPrefix(field[end:], ".")
	}
	return out
}

// lineOf returns the line of a field, or of the nearest field around it.
func lineOf(root *yaml.Node, field string) int {
	if root == nil {
		return 0
	}
	_, line := find(root, field)
	return line
}

// find returns the node of a field, or nil. It also returns the line of the field, or of the nearest field around it.
func find(root *yaml.Node, field string) (*yaml.Node, int) {
	node, line := root, root.Line
	segments := split(field)
	for i := 0; i < len(segments); {
		for node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		switch node.Kind {
		case yaml.SequenceNode:
			index, err := strconv.Atoi(segments[i])
			if err != nil || index < 0 || index >= len(node.Content) {
				return nil, line
			}
			node = node.Content[index]
			line = node.Line
			i++
		case yaml.MappingNode:
			key, value, used := entry(node, segments[i:])
			if value == nil {
				return nil, line
			}
			node, line = value, key.Line
			i += used
		default:
			return nil, line
		}
	}
	return node, line
}

// entry finds the entry of a mapping that the first segments name. Several segments can form one key, because not
// everybody puts a key with dots in brackets.
func entry(mapping *yaml.Node, segments []string) (key, value *yaml.Node, used int) {
	for used = 1; used <= len(segments); used++ {
		name := strings.Join(segments[:used], ".")
		for i := 0; i+1 < len(mapping.Content); i += 2 {
			if mapping.Content[i].Value == name {
				return mapping.Content[i], mapping.Content[i+1], used
			}
		}
	}
	return nil, nil, 0
}

// firstLines finds the items of lists by their keys. It goes through each list once.
type firstLines struct {
	node  *yaml.Node
	lists map[string]map[string]int
}

// duplicate explains that an item of a list has the same key as an earlier one. It never prints an item of
// a list without keys: the item can be a secret.
func (f *firstLines) duplicate(path string, bad any) string {
	keys, _ := bad.(map[string]any)
	at := strings.LastIndexByte(path, '[')
	if len(keys) != 1 || at < 0 {
		return "is defined twice: remove one"
	}
	for key, value := range keys {
		first := ""
		if line := f.line(path[:at], key, fmt.Sprint(value)); line > 0 {
			first = fmt.Sprintf(", first at line %d", line)
		}
		return fmt.Sprintf("%s %q is defined twice%s: change or remove one", key, fmt.Sprint(value), first)
	}
	return ""
}

// line returns the line of the first item of a list that has this value under key, or 0.
func (f *firstLines) line(list, key, value string) int {
	if f.node == nil {
		return 0
	}
	id := list + "\x00" + key
	if f.lists[id] == nil {
		lines := map[string]int{}
		if node, _ := find(f.node, list); node != nil {
			for i := range node.Content {
				child, line := find(node, strconv.Itoa(i)+"."+key)
				if child != nil && lines[child.Value] == 0 {
					lines[child.Value] = line
				}
			}
		}
		f.lists = map[string]map[string]int{id: lines} // the errors of one list follow each other
	}
	return f.lists[id][value]
}

// lineOfValue returns the line of the first text that equals value, or 0.
func lineOfValue(n *yaml.Node, value string) int {
	if n == nil || n.Kind == yaml.AliasNode {
		return 0
	}
	if n.Kind == yaml.ScalarNode && n.Value == value {
		return n.Line
	}
	for _, child := range n.Content {
		if line := lineOfValue(child, value); line > 0 {
			return line
		}
	}
	return 0
}
