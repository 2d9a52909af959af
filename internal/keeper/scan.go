package keeper

import (
	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/text"
)

// maxRequest is the longest value of the annotation that asks for a scan, in bytes. The rest is cut off.
const maxRequest = 256

// ScanOf returns the request for a scan that was not handled yet, or "". It has only whole characters: half of one
// would come back changed from the task of a Job, and never count as handled.
func ScanOf(r *v1alpha1.Repository) string {
	asked := text.Cut(r.Annotations[v1alpha1.AnnotationScan], maxRequest)
	if last := r.Status.LastScan; last != nil && last.Requested == asked {
		return ""
	}
	return asked
}
