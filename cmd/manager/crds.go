package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/config"
	"github.com/cairn-backup/cairn/internal/text"
)

// installAll is what to do about CRDs that do not fit. They are never alone: the Addons, the rights and the admission
// policies are as old as they are.
const installAll = "install all of this version with \"kubectl apply --server-side -k config/crd\" and then " +
	"\"kubectl apply --server-side -k config/default\", or your own kustomization of it"

// crdPatience is how long a manager waits for the fields of its version: the API server tells of a new CRD only after
// some seconds.
const crdPatience = 20 * time.Second

// checkCRDs returns an error if the cluster lacks kinds or fields of this version. It does not compare their rules.
func checkCRDs(ctx context.Context, mgr ctrl.Manager) error {
	if err := checkKinds(mgr.GetScheme(), mgr.GetRESTMapper()); err != nil {
		return err
	}
	client, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("make the client that looks up fields: %w", err)
	}
	want, err := ownSchemas()
	if err != nil {
		return err
	}
	var lacks error
	err = wait.PollUntilContextTimeout(ctx, time.Second, crdPatience, true, func(context.Context) (bool, error) {
		lacks = checkFields(client, want)
		return lacks == nil, nil
	})
	if lacks != nil {
		return lacks
	}
	return err
}

// checkKinds returns an error that names the kinds of Cairn that the cluster lacks. A controller that waits for a
// missing kind would report it only after minutes.
func checkKinds(scheme *runtime.Scheme, mapper meta.RESTMapper) error {
	var missing []string
	for kind := range scheme.KnownTypes(v1alpha1.GroupVersion) {
		if !scheme.Recognizes(v1alpha1.GroupVersion.WithKind(kind + "List")) {
			continue // a list, or a kind that belongs to every API
		}
		_, err := mapper.RESTMapping(schema.GroupKind{Group: v1alpha1.Group, Kind: kind}, v1alpha1.GroupVersion.Version)
		if meta.IsNoMatchError(err) {
			missing = append(missing, kind)
		} else if err != nil {
			return fmt.Errorf("look up kind %s: %w", kind, err)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf(
			"the cluster lacks the kinds %s: "+installAll, strings.Join(missing, ", "))
	}
	return nil
}

// properties is the part of an OpenAPI schema that says which fields there are.
type properties struct {
	Properties           map[string]*properties `json:"properties"`
	Items                *properties            `json:"items"`
	AdditionalProperties *properties            `json:"additionalProperties"`
}

// checkFields returns an error that names fields of want, by kind, which the CRDs of the cluster lack. The API server
// drops such a field without a word, and a manager that finds none of what it wrote decides wrongly. Fields that only
// the cluster has do no harm.
func checkFields(client discovery.OpenAPIV3SchemaInterface, want map[string]*properties) error {
	served, err := servedSchemas(client)
	if err != nil {
		return fmt.Errorf("look up the fields of the API: %w", err)
	}
	var missing []string
	for _, kind := range slices.Sorted(maps.Keys(want)) {
		for _, part := range []string{"spec", "status"} {
			missing = append(missing, want[kind].field(part).lacks(served[kind].field(part), kind+"."+part)...)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("the CRDs of the cluster are of an older version and lack the fields %s: "+installAll,
		text.FirstFew(missing))
}

// servedSchemas returns what the API server serves, by kind.
func servedSchemas(client discovery.OpenAPIV3SchemaInterface) (map[string]*properties, error) {
	paths, err := client.OpenAPIV3().Paths()
	if err != nil {
		return nil, err
	}
	at := paths["apis/"+v1alpha1.GroupVersion.String()]
	if at == nil {
		return nil, errors.New("the API server has no schema of " + v1alpha1.GroupVersion.String())
	}
	text, err := at.Schema(runtime.ContentTypeJSON)
	if err != nil {
		return nil, err
	}
	type kinds []schema.GroupVersionKind
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				properties
				Kinds kinds `json:"x-kubernetes-group-version-kind"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	out := map[string]*properties{}
	for _, s := range doc.Components.Schemas {
		for _, k := range s.Kinds {
			if k.Group == v1alpha1.Group {
				out[k.Kind] = &s.properties
			}
		}
	}
	return out, nil
}

// ownSchemas returns the schemas of this version, by kind.
func ownSchemas() (map[string]*properties, error) {
	files, err := fs.Glob(config.CRDs, "crd/bases/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("read the CRDs: %w", err)
	}
	out := map[string]*properties{}
	for _, file := range files {
		kind, schema, err := ownSchema(file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		out[kind] = schema
	}
	return out, nil
}

// ownSchema returns the schema of a CRD of this version.
func ownSchema(file string) (kind string, _ *properties, _ error) {
	text, err := fs.ReadFile(config.CRDs, file)
	if err != nil {
		return "", nil, err
	}
	var crd struct {
		Spec struct {
			Names    struct{ Kind string }
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema properties `json:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return "", nil, err
	}
	if len(crd.Spec.Versions) != 1 {
		return "", nil, errors.New("the CRD needs one version")
	}
	return crd.Spec.Names.Kind, &crd.Spec.Versions[0].Schema.OpenAPIV3Schema, nil
}

// field returns the schema of a field, or nil.
func (p *properties) field(name string) *properties {
	if p == nil {
		return nil
	}
	return p.Properties[name]
}

// lacks returns the paths of the fields of p that other lacks, in order, without the fields of those.
func (p *properties) lacks(other *properties, path string) []string {
	switch {
	case p == nil:
		return nil
	case other == nil:
		return []string{path}
	}
	out := append(p.Items.lacks(other.Items, path), p.AdditionalProperties.lacks(other.AdditionalProperties, path)...)
	for _, name := range slices.Sorted(maps.Keys(p.Properties)) {
		out = append(out, p.Properties[name].lacks(other.Properties[name], path+"."+name)...)
	}
	return out
}
