// Command trimcrds shortens the generated CRDs. It removes the descriptions inside Kubernetes' own types and writes
// each of these types in one line: they are most of a CRD's size, and the documentation of Kubernetes explains them.
// The description of a field of such a type stays.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/cairn-backup/cairn/hack/kubetypes"
)

func main() {
	if err := run("config/crd/bases/*.yaml"); err != nil {
		fmt.Fprintln(os.Stderr, "trimcrds:", err)
		os.Exit(1)
	}
}

func run(pattern string) error {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		out, err := trimmed(text)
		if err != nil {
			return fmt.Errorf("trim %s: %w", file, err)
		}
		if err := os.WriteFile(file, out, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func trimmed(crd []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(crd, &document); err != nil {
		return nil, err
	}
	trim(&document)
	out := bytes.NewBufferString("---\n")
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(&document); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

// trim shortens the types of Kubernetes in a schema and everything below it.
func trim(n *yaml.Node) {
	if properties := value(n, "properties"); properties != nil && isKubernetes(properties) {
		silence(properties)
		n.Style = yaml.FlowStyle
		return
	}
	if items := value(n, "items"); items != nil {
		if properties := value(items, "properties"); properties != nil && isKubernetes(properties) {
			silence(items) // The list has our description, its items have that of Kubernetes.
		}
	}
	for _, inner := range n.Content {
		trim(inner)
	}
}

func isKubernetes(properties *yaml.Node) bool {
	return kubetypes.Name(func(field string) bool { return value(properties, field) != nil }) != ""
}

// value returns the value of a key of a mapping, or nil if the mapping does not have the key.
func value(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// silence removes all descriptions. It keeps a property named description: its value is a schema, not a text.
func silence(n *yaml.Node) {
	if n.Kind == yaml.MappingNode {
		var kept []*yaml.Node
		for i := 0; i < len(n.Content); i += 2 {
			if n.Content[i].Value != "description" || n.Content[i+1].Kind != yaml.ScalarNode {
				kept = append(kept, n.Content[i], n.Content[i+1])
			}
		}
		n.Content = kept
	}
	for _, inner := range n.Content {
		silence(inner)
	}
}
