package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/cairn-backup/cairn/internal/policy/check"
	"github.com/cairn-backup/cairn/policies"
)

// ReadCatalog returns a lookup that knows the built-in Addons and Functions and the objects in the files, which hold
// what a cluster has. It can't tell whether any other object exists.
func ReadCatalog(files ...string) (check.Lookup, error) {
	known := knownObjects{}
	err := fs.WalkDir(policies.Catalog, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(policies.Catalog, path)
		if err != nil {
			return err
		}
		return known.add(path, raw)
	})
	if err != nil {
		return nil, fmt.Errorf("read the built-in catalog: %w", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := known.add(file, raw); err != nil {
			return nil, err
		}
	}
	return func(r check.Reference) (*unstructured.Unstructured, bool) {
		o, ok := known[r]
		return o, ok
	}, nil
}

// knownObjects holds objects by the reference that names them.
type knownObjects map[check.Reference]*unstructured.Unstructured

// add adds the objects of a file. It adds the items of a List one by one.
func (k knownObjects) add(file string, raw []byte) error {
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), len(raw))
	for {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if !o.IsList() {
			k.put(o)
			continue
		}
		err := o.EachListItem(func(item runtime.Object) error {
			k.put(item.(*unstructured.Unstructured))
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
}

func (k knownObjects) put(o *unstructured.Unstructured) {
	k[check.Reference{GroupKind: o.GroupVersionKind().GroupKind(), Namespace: o.GetNamespace(), Name: o.GetName()}] = o
}
