package build

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/check"
	"github.com/cairn-backup/cairn/internal/policy/secrets"
)

// checkSet reports mistakes across objects that are valid by themselves.
func (b *builder) checkSet(objects []Object) {
	set := make([]check.Object, len(objects))
	for i, o := range objects {
		set[i] = check.Object{Unstructured: o.Unstructured, File: o.File, Document: o.Document, LineOf: o.Line}
	}
	b.findings = append(b.findings, check.Objects(set, b.opts.Namespace, b.opts.Lookup)...)
	b.targets(objects)
}

// secrets returns the Secrets that objects name, and reports each PolicySync that could name others, if only those with
// the label of consent may be named. Objects without a namespace, such as Functions, are left out: each run finds their
// Secrets in its own namespace.
func (b *builder) secrets(objects []Object) []NamedSecret {
	if !b.opts.Labelled {
		return nil
	}
	var out []NamedSecret
	for _, o := range objects {
		u := o.Unstructured
		if u.GetKind() == v1alpha1.PolicySyncKind {
			b.labelled(o)
		}
		for _, n := range secrets.In(u) {
			if n.Namespace == "" {
				continue
			}
			out = append(out, NamedSecret{
				Namespace: n.Namespace, Name: n.Name, Foreign: n.Namespace != u.GetNamespace(),
				Place: check.Finding{File: o.File, Document: o.Document, Line: o.Line(n.Field), Field: n.Field},
			})
		}
	}
	return out
}

// labelled reports a PolicySync whose policy could name Secrets without the label of consent.
func (b *builder) labelled(o Object) {
	const field = "spec.secrets"
	has, _, _ := unstructured.NestedString(o.Unstructured.Object, "spec", "secrets")
	if has == v1alpha1.SecretsLabelled {
		return
	}
	b.report(v1alpha1.ReasonValidationFailed, o.File, o.Document, o.Line(field), field, "must be %s, as it is in the "+
		"PolicySync that applies this one: otherwise policy could let itself name any Secret", v1alpha1.SecretsLabelled)
}

// targets bounds the targets to which the BackupBatches can be expanded, whatever their selectors find.
func (b *builder) targets(objects []Object) {
	total := 0
	for _, o := range objects {
		if o.Unstructured.GetKind() != v1alpha1.BackupBatchKind {
			continue
		}
		var batch v1alpha1.BackupBatch
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Unstructured.UnstructuredContent(),
			&batch); err != nil {
			continue // validate reports it
		}
		if total += policy.MaxBatchTargets(&batch); total > b.opts.Limits.Targets {
			b.report(v1alpha1.ReasonTooManyTargets, o.File, o.Document, o.Line("spec.targets"), "spec.targets",
				"with this batch there can be more than %d targets, counting maxTargets for each selector: lower "+
					"maxTargets, or split the directory over several PolicySyncs",
				b.opts.Limits.Targets)
			return
		}
	}
}
