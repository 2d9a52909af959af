package task

import (
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Scan tells where the answer to a scan is. A termination message has no room for it, so it is in pages: ConfigMaps of
// the Job's namespace. The digest is in the termination message, which only the kubelet can write: nobody else can
// forge a page.
type Scan struct {
	// Pages is the number of ConfigMaps. PageName names them.
	Pages int `json:"pages"`
	// Digest of all pages, in order.
	Digest string `json:"digest,omitempty"`
	// Unreadable is the number of component results in the backend that could not be understood.
	Unreadable int32 `json:"unreadable,omitempty"`
	// Unknown is the number of backups in the repository that belong to no Snapshot.
	Unknown int32 `json:"unknown,omitempty"`
}

func (s *Scan) limit() {
	s.Pages = min(max(s.Pages, 0), MaxPages)
	s.Unreadable, s.Unknown = max(s.Unreadable, 0), max(s.Unknown, 0)
}

// Found is a Snapshot as it lies in a repository.
type Found struct {
	// Name and UID that it had when it was made.
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
	// Labels that it had.
	Labels map[string]string `json:"labels,omitempty"`
	// HalfRestored is the RestoreSession of its AnnotationHalfRestored when it was made, as RestoreOfMark returns it.
	HalfRestored string `json:"halfRestored,omitempty"`
	// Spec that it had, as far as the backend tells.
	Spec v1alpha1.SnapshotSpec `json:"spec"`
	// Total is the number of components that it has when it is complete; 0 means unknown.
	Total int32 `json:"total,omitempty"`
	// Components that were found. One is Succeeded only if the repository has its data.
	Components map[string]v1alpha1.Component `json:"components"`
}

// IsUID reports whether a text from a backend can be the UID of an object: it becomes a part of a path.
func IsUID(text string) bool { return len(validation.IsDNS1123Label(text)) == 0 }

// unknownRestore stands for a RestoreSession in a mark that names none.
const unknownRestore = "unknown"

// RestoreOfMark returns the name of the RestoreSession in the mark of a Snapshot that was made of a half restored
// target, or "" without a mark. Whoever can write to the backend, or to a claim, chooses the text: it gets into
// messages only if it can be a name. Another text still is a mark.
func RestoreOfMark(mark string) string {
	if mark != "" && len(validation.IsDNS1123Subdomain(mark)) > 0 {
		return unknownRestore
	}
	return mark
}
