package layout

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a file, in bytes. The largest is a Removal with the IDs of 2,000 components.
const maxFile = 512 << 10

// maxComponentResult bounds a ComponentResult, in bytes: a scan reads very many of them.
const maxComponentResult = 64 << 10

// errAlias means that a file repeats a part of itself, which no file of Cairn does.
var errAlias = errors.New("it has an anchor or an alias, which Cairn never writes")

// check refuses a file that can take much memory when it is decoded. Anybody who can write to the backend can have
// written it: a few kilobytes of aliases become gigabytes.
func check(b []byte) (err error) {
	if len(b) > maxFile {
		return fmt.Errorf("it has %d bytes, the limit is %d", len(b), maxFile)
	}
	defer func() {
		if r := recover(); r != nil { // the parser is not ours
			err = fmt.Errorf("it is no YAML: %v", r)
		}
	}()
	var node yaml.Node
	if err := yaml.Unmarshal(b, &node); err != nil {
		return err
	}
	return checkNode(&node)
}

func checkNode(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return errAlias
	}
	for _, child := range n.Content {
		if err := checkNode(child); err != nil {
			return err
		}
	}
	return nil
}
