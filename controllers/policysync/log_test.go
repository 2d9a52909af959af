package policysync

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/source"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// TestLogApplied asks what the log says about a pass over the revision new.
func TestLogApplied(t *testing.T) {
	for name, tt := range map[string]struct {
		lastApplied string
		edited      bool // the PolicySync itself
		result      passResult
		want        string
		signers     *source.Signers
	}{
		"a revision whose signature was verified": {
			"old", false,
			passResult{objects: 4, changed: 2},
			`"level"=0 "msg"="applied objects" "revision"="new" "signer"="SSH key SHA256:x" "objects"=4 "changed"=2 ` +
				`"deleted"=0`,
			&source.Signers{Commit: "SSH key SHA256:x"},
		},
		"a new revision": {
			"old", false,
			passResult{objects: 4, changed: 2, deleted: 1},
			`"level"=0 "msg"="applied objects" "revision"="new" "objects"=4 "changed"=2 "deleted"=1`, nil,
		},
		"a new revision that changes nothing": {
			"old", false,
			passResult{objects: 4},
			`"level"=0 "msg"="applied objects" "revision"="new" "objects"=4 "changed"=0 "deleted"=0`, nil,
		},
		"an edit by hand": {
			"new", false,
			passResult{objects: 4, changed: 1},
			`"level"=0 "msg"="reapplied the revision in force" "revision"="new" "changed"=1`, nil,
		},
		"the PolicySync was edited": {
			"new", true,
			passResult{objects: 4, changed: 1},
			`"level"=0 "msg"="applied objects" "revision"="new" "objects"=4 "changed"=1 "deleted"=0`, nil,
		},
		"a removal that somebody has allowed": {
			"new", false,
			passResult{objects: 4, deleted: 1},
			`"level"=0 "msg"="applied objects" "revision"="new" "objects"=4 "changed"=0 "deleted"=1`, nil,
		},
		"an edit by hand, and a removal that somebody has allowed": {
			"new", false,
			passResult{objects: 4, changed: 1, deleted: 1},
			`"level"=0 "msg"="applied objects" "revision"="new" "objects"=4 "changed"=1 "deleted"=1`, nil,
		},
		"a removal that the guard holds back": {
			"new", false,
			passResult{objects: 4, stale: 2},
			`"level"=1 "msg"="waits to delete what the revision lacks" "revision"="new" "stale"=2`, nil,
		},
		"no news": {
			"new", false,
			passResult{objects: 4},
			`"level"=1 "msg"="nothing to do: all objects are as the revision says" "revision"="new" "objects"=4`, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &reconciling{obj: &v1alpha1.PolicySync{}, before: &v1alpha1.PolicySync{}, verified: tt.signers}
			s.before.Status.LastAppliedRevision = tt.lastApplied
			if tt.edited {
				s.obj.Generation = 2
			}
			tt.result.revision = "new"
			ctx, lines := loglines.Record(t.Context(), 1)
			s.logApplied(ctx, tt.result)
			NewWithT(t).Expect(*lines).To(Equal([]string{tt.want}))
		})
	}
}
