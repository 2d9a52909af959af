package keeper

import "github.com/cairn-backup/cairn/api/v1alpha1"

// maxRequest is the longest value of the annotation that asks for a scan.
const maxRequest = 256

// ScanOf returns the request for a scan that was not handled yet, or "".
func ScanOf(r *v1alpha1.Repository) string {
	asked := r.Annotations[v1alpha1.AnnotationScan]
	if len(asked) > maxRequest {
		asked = asked[:maxRequest]
	}
	if last := r.Status.LastScan; last != nil && last.Requested == asked {
		return ""
	}
	return asked
}
