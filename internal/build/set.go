package build

import (
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// checkSet looks for mistakes across objects that are each valid.
func (b *builder) checkSet(objects []Object) {
	set := make([]policy.Object, len(objects))
	for i, o := range objects {
		set[i] = policy.Object{Unstructured: o.Unstructured, File: o.File, Document: o.Document, LineOf: o.Line}
	}
	b.findings = append(b.findings, policy.CheckObjects(set, b.opts.Namespace, b.opts.Lookup)...)
	b.targets(objects)
}

// targets bounds how many targets the BackupBatches may be expanded to, whatever their selectors find.
func (b *builder) targets(objects []Object) {
	total := 0
	for _, o := range objects {
		if o.Unstructured.GetKind() != v1alpha1.BackupBatchKind {
			continue
		}
		var batch v1alpha1.BackupBatch
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Unstructured.UnstructuredContent(), &batch); err != nil {
			continue // That is a mistake of its own.
		}
		if total += policy.MostTargets(&batch); total > b.opts.Limits.Targets {
			b.report(v1alpha1.ReasonTooManyTargets, o.File, o.Document, o.Line("spec.targets"), "spec.targets",
				"with this batch there may be more than %d targets, each selector counted with its maxTargets: lower these, or make several PolicySyncs of it",
				b.opts.Limits.Targets)
			return
		}
	}
}
