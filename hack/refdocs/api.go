package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/cairn-backup/cairn/config"
	"github.com/cairn-backup/cairn/hack/kubetypes"
)

// apiPage describes every kind. The CRDs are its only source.
func apiPage() ([]byte, error) {
	crds, err := readCRDs(config.CRDs)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString(notice)
	out.WriteString("# API\n\n" + paragraph(fmt.Sprintf(
		"The API group is %s. A required field is required only if its parent is set. The documentation of "+
			"Kubernetes describes the fields of these types of Kubernetes: %s.",
		code(crds[0].Spec.Group), strings.Join(kubetypes.Names(), ", "))) + "\n")
	out.WriteString(head("Kind", "Scope", "Short names", "What it is"))
	for _, c := range crds {
		names := c.Spec.Names
		out.WriteString(row(fmt.Sprintf("[%s](#%s)", names.Kind, strings.ToLower(names.Kind)), string(c.Spec.Scope),
			codes(names.ShortNames), sentence(schemaOf(c).Description)))
	}
	for _, c := range crds {
		writeKind(&out, c)
	}
	return out.Bytes(), nil
}

// readCRDs reads all CRDs and sorts them by kind.
func readCRDs(files fs.FS) ([]apiextensionsv1.CustomResourceDefinition, error) {
	paths, err := fs.Glob(files, "crd/bases/*.yaml")
	if err != nil {
		return nil, err
	}
	var out []apiextensionsv1.CustomResourceDefinition
	for _, path := range paths {
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return nil, err
		}
		var c apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(text, &c); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if len(c.Spec.Versions) != 1 {
			return nil, fmt.Errorf("read %s: %d versions, refdocs describes only one", path, len(c.Spec.Versions))
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no CRDs found")
	}
	slices.SortFunc(out, func(a, b apiextensionsv1.CustomResourceDefinition) int {
		return strings.Compare(a.Spec.Names.Kind, b.Spec.Names.Kind)
	})
	return out, nil
}

func schemaOf(c apiextensionsv1.CustomResourceDefinition) schema {
	return *c.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// writeKind writes the section of a kind, with one table for the spec and one for the status.
func writeKind(out *bytes.Buffer, c apiextensionsv1.CustomResourceDefinition) {
	s, version := schemaOf(c), c.Spec.Versions[0]
	fmt.Fprintf(out, "\n## %s\n\n%s\n", c.Spec.Names.Kind, paragraph(sentence(s.Description)))
	fmt.Fprintf(out, "`apiVersion: %s/%s`, resource %s, scope %s", c.Spec.Group, version.Name,
		code(c.Spec.Names.Plural), c.Spec.Scope)
	if short := c.Spec.Names.ShortNames; len(short) > 0 {
		fmt.Fprintf(out, ", short name %s", codes(short))
	}
	out.WriteString(".\n")
	writeRules(out, "", rules(s))
	for _, part := range []string{"spec", "status"} {
		p, ok := s.Properties[part]
		if !ok {
			continue
		}
		fmt.Fprintf(out, "\n### %s %s\n\n%s", c.Spec.Names.Kind, part, paragraph(sentence(p.Description)))
		writeRules(out, part+": ", rules(p))
		if p.Default != nil {
			fmt.Fprintf(out, "\n- default: %s\n", code(string(p.Default.Raw)))
		}
		writeFields(out, fields(part, p))
	}
}

func writeRules(out *bytes.Buffer, prefix string, rules []string) {
	if len(rules) == 0 {
		return
	}
	out.WriteString("\n")
	for _, r := range rules {
		fmt.Fprintf(out, "- %s%s\n", prefix, r)
	}
}

func writeFields(out *bytes.Buffer, all []field) {
	out.WriteString("\n" + head("Field", "Type", "Required", "Default", "What it is", "Rules"))
	for _, f := range all {
		required, defaulted := "", ""
		if f.required {
			required = "yes"
		}
		if f.defaulted != "" {
			defaulted = code(f.defaulted)
		}
		out.WriteString(row(code(f.path), f.kind, required, defaulted, sentence(f.description),
			strings.Join(f.rules, "; ")))
	}
}
