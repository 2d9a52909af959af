package build

import (
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/check"
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
