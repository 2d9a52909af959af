package build

import "github.com/cairn-backup/cairn/internal/policy"

// checkSet looks for mistakes across objects that are each valid.
func (b *builder) checkSet(objects []Object) {
	set := make([]policy.Object, len(objects))
	for i, o := range objects {
		set[i] = policy.Object{Unstructured: o.Unstructured, File: o.File, Document: o.Document, LineOf: o.Line}
	}
	b.findings = append(b.findings, policy.CheckObjects(set, b.opts.Namespace, b.opts.Lookup)...)
}
