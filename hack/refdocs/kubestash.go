package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/config"
	"github.com/cairn-backup/cairn/internal/kubestash"
)

// kubestashPage lists every field of KubeStash's API and its counterpart in Cairn.
func kubestashPage() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(notice)
	out.WriteString("# Coming from KubeStash\n\n" + paragraph(
		"A manifest of KubeStash v1alpha1 works after you change its apiVersion to backup.cairn.dev/v1alpha1."+
			" A field marked \"same\" has the same path and meaning. The API server and `cairn validate` refuse a "+
			"field marked \"refused\", with the message shown here. Conditions are those of Kubernetes, with an "+
			"observedGeneration and without a severity. A type that several fields share has its own table. The "+
			"fields of Kubernetes' own types are not listed."))
	crds, err := readCRDs(config.CRDs)
	if err != nil {
		return nil, err
	}
	refusals := refusalsOf(crds)
	for _, owner := range append(slices.Clone(kubestash.Kinds), kubestash.Types()...) {
		fmt.Fprintf(&out, "\n## %s\n\n%s", owner, head("Field", "Type", "In Cairn"))
		for _, f := range kubestash.OwnFields(owner) {
			out.WriteString(row(code(f.Path), typeLink(f.Type), became(f, refusals[owner+" "+f.Own])))
		}
	}
	out.WriteString("\n## Drivers\n\n" + paragraph(
		"The driver of a task is Kopia, or VolumeSnapshotter as in KubeStash. KubeStash's other drivers are refused:"))
	out.WriteString("\n" + head("Driver", "What to do"))
	for _, d := range kubestash.Drivers {
		out.WriteString(row(code(d.Name), sentence(d.Says)))
	}
	return out.Bytes(), nil
}

// refusalsOf returns the messages with which the CRDs refuse fields, by "<kind or shared type> <path>".
func refusalsOf(crds []apiextensionsv1.CustomResourceDefinition) map[string]string {
	out := map[string]string{}
	for _, crd := range crds {
		if !slices.Contains(kubestash.Kinds, crd.Spec.Names.Kind) {
			continue
		}
		for _, f := range kubestash.Fields(crd.Spec.Names.Kind) {
			if field, ok := kubestash.At(schemaOf(crd), f.Path); ok && kubestash.RefusalMessage(field) != "" {
				out[f.Owner+" "+f.Own] = kubestash.RefusalMessage(field)
			}
		}
	}
	return out
}

// typeLink returns the name of a type, with a link to its table if it is a shared type.
func typeLink(kind string) string {
	element := strings.TrimPrefix(kind, "[]")
	if !slices.Contains(kubestash.Types(), element) {
		return plain(kind)
	}
	return fmt.Sprintf("%s[%s](#%s)", strings.TrimSuffix(kind, element), element, strings.ToLower(element))
}

func became(f kubestash.Field, refusal string) string {
	switch {
	case refusal != "":
		return "**refused**: " + sentence(refusal)
	case f.Difference == nil:
		return "same"
	case f.Difference.Refused:
		return "**refused**: " + sentence(f.Difference.Says)
	default:
		return sentence(f.Difference.Says)
	}
}
