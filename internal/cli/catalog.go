package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/policies"
)

// catalog knows the built-in Addons and Functions. Of everything else it can't tell.
func catalog() (policy.Lookup, error) {
	known := map[policy.Reference]*unstructured.Unstructured{}
	err := fs.WalkDir(policies.Catalog, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(policies.Catalog, path)
		if err != nil {
			return err
		}
		decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), len(raw))
		for {
			o := &unstructured.Unstructured{}
			if err := decoder.Decode(o); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			known[policy.Reference{GroupKind: o.GroupVersionKind().GroupKind(), Name: o.GetName()}] = o
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read the built-in catalog: %w", err)
	}
	return func(r policy.Reference) (*unstructured.Unstructured, bool) {
		o, ok := known[r]
		return o, ok
	}, nil
}
