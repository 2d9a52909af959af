package build

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/config"
)

// kindSchema is the schema and the rules with which the API server checks objects of one kind.
type kindSchema struct {
	structural *structural.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator
}

// schemas returns, by kind, functions that compile the schema of the kind once. Rules are slow to compile, and a
// directory has few kinds.
var schemas = sync.OnceValues(func() (map[string]func() (*kindSchema, error), error) {
	out := map[string]func() (*kindSchema, error){}
	files, err := fs.Glob(config.CRDs, "crd/bases/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		data, err := fs.ReadFile(config.CRDs, file)
		if err != nil {
			return nil, err
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(bytes.TrimSpace(data), crd); err != nil {
			return nil, fmt.Errorf("read %s: %w", path.Base(file), err)
		}
		out[crd.Spec.Names.Kind] = sync.OnceValues(func() (*kindSchema, error) { return compile(crd) })
	}
	return out, nil
})

func compile(crd *apiextensionsv1.CustomResourceDefinition) (*kindSchema, error) {
	for _, v := range crd.Spec.Versions {
		if v.Name != v1alpha1.GroupVersion.Version {
			continue
		}
		props := &apiextensions.JSONSchemaProps{}
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema,
			props,
			nil); err != nil {
			return nil, fmt.Errorf("convert schema of %s: %w", crd.Spec.Names.Kind, err)
		}
		s, err := structural.NewStructural(props)
		if err != nil {
			return nil, fmt.Errorf("read schema of %s: %w", crd.Spec.Names.Kind, err)
		}
		validator, _, err := validation.NewSchemaValidator(props)
		if err != nil {
			return nil, fmt.Errorf("compile schema of %s: %w", crd.Spec.Names.Kind, err)
		}
		return &kindSchema{
			structural: s, validator: validator, rules: cel.NewValidator(s, true, celconfig.PerCallLimit),
		}, nil
	}
	return nil, fmt.Errorf("%s has no version %s", crd.Name, v1alpha1.GroupVersion.Version)
}

func schemaOf(kind string) (*kindSchema, error) {
	all, err := schemas()
	if err != nil {
		return nil, err
	}
	load, ok := all[kind]
	if !ok {
		return nil, fmt.Errorf("no schema of kind %s", kind)
	}
	return load()
}
