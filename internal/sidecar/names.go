package sidecar

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/cairn-backup/cairn/internal/task"
)

// keysPattern is what KeysOf returns.
var keysPattern = regexp.MustCompile(`^[0-9a-f]{10}$`)

// CheckNames reports a name in an assignment that no work of the manager has. A sidecar finds keys and volumes by these
// names: none can lead out of its directory.
func (w *Work) CheckNames(a *Assignment) error {
	switch {
	case !keysPattern.MatchString(string(w.Keys)):
		return fmt.Errorf("check work: keys %q are not 10 hexadecimal digits", w.Keys)
	case len(validation.IsDNS1123Subdomain(a.Host)) > 0:
		return fmt.Errorf("check work: host %q is no name of a pod or node", a.Host)
	}
	for i, c := range a.Components {
		if len(validation.IsDNS1123Label(c.Volume)) > 0 {
			return fmt.Errorf("check work: component %s: %q is no name of a volume", c.Name, c.Volume)
		}
		if slices.ContainsFunc(a.Components[:i], func(o Component) bool { return o.Name == c.Name }) {
			return fmt.Errorf("check work: component %s is named twice", c.Name)
		}
	}
	return nil
}

// EncodePlace returns what the sidecar's Secret says about the storage that a repository's keys are for.
func EncodePlace(s task.Storage) ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode the storage of keys: %w", err)
	}
	return b, nil
}

// IsPlace reports whether what EncodePlace returned is about this storage. It knows no field that a newer manager has
// added, neither there nor in the storage of a task.
func IsPlace(encoded []byte, s task.Storage) bool {
	var place task.Storage
	return json.Unmarshal(encoded, &place) == nil && equality.Semantic.DeepEqual(place, s)
}
